"""`edgerelay init`: a commented configuration that `check` accepts.

What it writes for root and for anybody else differs: a port below 1024 and /var/lib are not
everybody's.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from edgerelay.cli.output import NotSo
from edgerelay.config import names, parse
from edgerelay.relay.settings import HopKind, NextHop

_FILE = """\
# edgerelay takes mail for {domain} and hands it to the next hop.
#
# Every key has a default that suits an inbound gateway (docs/configuration.md). A line that
# begins with "#" shows a key with its default, or with an example.

# The name in the banner, in EHLO and in Received fields. Default: the machine's own.
# hostname = "mx.{domain}"

# Spool, tables and control socket; not for other users' eyes.{state_dir}

# "[::]:25" would be IPv6, in a [[listener]] of its own.{address}
# STARTTLS is offered as soon as [tls] names a certificate; "required" insists on it.
# tls = "starttls"

# Relative names begin where this file is. The key's mode must be 0600.
# [tls]
# certificate = "fullchain.pem"
# private_key = "privkey.pem"

# Networks that may send anywhere. Empty: nobody, not even this machine.
[access]
relay_from = []

# The first route that names the recipient's domain is taken. ".{domain}" would be the
# subdomains. Several next hops: in order of preference.
[[route]]
domains = ["{domain}"]
next_hop = ["{next_hop}"]
{recipients}
# To the next hop: "off", "opportunistic", "required" or "verify".
# tls = "opportunistic"

# Policies judge what comes in, in the order of their tables (edgerelay policy list). In mode
# "observe" one is asked and counted, and decides nothing.
# [[policy]]
# use = "spf"
# mode = "observe"

# [limits]
# message_size = "50MiB"
# connections_per_client = 50
# rate_per_client = "100/m"

# The last interval of "retry" repeats until "expire"; the sender hears of a delay once.
# [queue]
# retry = ["1m", "5m", "15m", "30m", "1h", "2h", "4h"]
# warn_after = "4h"
# expire = "5d"
"""

_CALLOUT = """\
# The next hop is asked about each recipient. "file:PATH" names them instead; "any" takes
# everything and makes bounces to forged senders.
recipients = "callout\""""
_ANY = """\
# Nobody can be asked about recipients; "file:PATH" names them.
recipients = "any\""""
_ROOTS_STATE = """
# state_dir = "/var/lib/edgerelay\""""
_OWN_STATE = """
# Root would use /var/lib/edgerelay.
state_dir = "edgerelay-state\""""
_ROOTS_ADDRESS = """
[[listener]]
address = "0.0.0.0:25\""""
_OWN_ADDRESS = """
# A port below 1024, such as SMTP's 25, needs root.
[[listener]]
address = "0.0.0.0:2525\""""


def _domain(_ctx: click.Context, _parameter: click.Parameter, value: str) -> str:
    try:
        return names.domain(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def _next_hop(_ctx: click.Context, _parameter: click.Parameter, value: str) -> NextHop:
    try:
        return names.next_hop(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


@click.command()
@click.argument("domain", callback=_domain)
@click.option(
    "--next-hop",
    required=True,
    metavar="URL",
    callback=_next_hop,
    help="smtp://10.0.0.5:25, lmtp+unix:///run/lmtp, maildir:///path, mx ...",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    default=Path("edgerelay.toml"),
    show_default=True,
    metavar="FILE",
    help="Where to; - is standard output.",
)
def init(domain: str, next_hop: NextHop, output: Path) -> None:
    """Write a commented configuration for DOMAIN. An existing file is left alone."""
    text = configuration(domain, next_hop, is_root=os.geteuid() == 0)
    parse(text.encode(), str(output))  # what we hand out is good, or we say so now
    if str(output) == "-":
        sys.stdout.write(text)
        return
    try:
        with output.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise NotSo(f"{output} exists already and is left as it is") from None
    except OSError as error:
        raise NotSo(f"cannot write {output}: {error.strerror}") from error
    click.echo(f"Wrote {output}. Next: edgerelay -c {output} check")


def configuration(domain: str, next_hop: NextHop, *, is_root: bool) -> str:
    """Return the file's text."""
    can_ask = next_hop.kind not in (HopKind.MAILDIR, HopKind.MX)
    return _FILE.format(
        domain=domain,
        next_hop=next_hop,
        recipients=_CALLOUT if can_ask else _ANY,
        state_dir=_ROOTS_STATE if is_root else _OWN_STATE,
        address=_ROOTS_ADDRESS if is_root else _OWN_ADDRESS,
    )
