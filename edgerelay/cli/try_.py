"""`edgerelay try`: what would become of a message, and what each policy says of it."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address
from typing import Any, TypeVar

import click

from edgerelay.cli.options import config_option, config_path, json_option
from edgerelay.cli.output import NotSo, print_json, print_table
from edgerelay.cli.trial_report import Report, Step, report
from edgerelay.mail.address import ForwardPath, Mailbox, ReversePath
from edgerelay.smtp.grammar import GrammarError, forward_path, hello_name, reverse_path

T = TypeVar("T")
Read = Callable[[click.Context, click.Parameter, Any], Any]


def _by(read: Callable[[str], T], expected: str) -> Read:
    """Read an option with a function that raises ValueError or GrammarError."""

    def callback(_ctx: click.Context, _parameter: click.Parameter, value: Any) -> Any:
        try:
            if isinstance(value, tuple):
                return tuple(dict.fromkeys(map(read, value)))  # the relay counts each once
            return read(value)
        except (ValueError, GrammarError):
            raise click.BadParameter(f"expected {expected}") from None

    return callback


def _client(text: str) -> IPv4Address | IPv6Address:
    from edgerelay.net.endpoint import canonical

    return canonical(text)


def _bare(text: str) -> str:
    return text.strip().removeprefix("<").removesuffix(">")


def _reverse_path(text: str) -> ReversePath:
    path, rest = reverse_path(f"FROM:<{_bare(text)}>")
    if rest:
        raise ValueError(text)
    return path


def _forward_path(text: str) -> ForwardPath:
    path, rest = forward_path(f"TO:<{_bare(text)}>", Mailbox("postmaster", ""))
    if rest:
        raise ValueError(text)
    return path


@click.command("try")
@click.argument(
    "message",
    type=click.Path(exists=True, dir_okay=False, readable=True, allow_dash=True),
)
@click.option(
    "--client",
    required=True,
    metavar="IP",
    callback=_by(_client, "an address such as 192.0.2.1"),
    help="Where it comes from.",
)
@click.option(
    "--helo",
    required=True,
    metavar="NAME",
    callback=_by(hello_name, "a name such as mx.example.com"),
    help="What the client calls itself.",
)
@click.option(
    "--mail-from",
    required=True,
    metavar="ADDRESS",
    callback=_by(_reverse_path, "an address, or <>"),
    help="The sender; <> for none.",
)
@click.option(
    "--rcpt-to",
    required=True,
    multiple=True,
    metavar="ADDRESS",
    callback=_by(_forward_path, "an address"),
    help="A recipient; may be given again.",
)
@config_option
@json_option
def try_(
    message: str,
    client: IPv4Address | IPv6Address,
    helo: str,
    mail_from: ReversePath,
    rcpt_to: tuple[ForwardPath, ...],
    as_json: bool,
) -> None:
    """Ask the configured policies about MESSAGE, a file (- is standard input).

    Nothing is sent, kept or remembered: the DNS and scanners are asked, tables are empty, and
    no next hop is asked about recipients. Exit code 1 if anybody would not get it.
    """
    import trio

    from edgerelay.cli.identity import acting_as
    from edgerelay.cli.trial import Trial, attempt
    from edgerelay.config.reading import load
    from edgerelay.pipeline.policies import NotOpened

    config = load(config_path())
    content, notes = with_crlf(_octets(message, config.edge().message_size + 1))
    paths = tuple(_with_domain(path, config.postmaster or config.hostname) for path in rcpt_to)
    with acting_as(config.user):
        found = trio.run(attempt, config, Trial(client, helo, mail_from, paths, content))
    if isinstance(found, NotOpened):
        raise NotSo(f"policy {found.policy} cannot be opened: {found.reason}")
    told = report(found, notes)
    if as_json:
        print_json(told)
    else:
        _print(told)
    if not told.is_accepted:
        raise click.exceptions.Exit(1)


def _octets(name: str, limit: int) -> bytes:
    """The file's; one octet more than may be is enough to hear that it is too big."""
    try:
        with click.open_file(name, "rb") as file:
            octets: bytes = file.read(limit)
            return octets
    except OSError as error:
        raise click.UsageError(f"cannot read {name}: {error.strerror}") from error


def with_crlf(data: bytes) -> tuple[bytes, list[str]]:
    """Return the content as it would be sent, and what was changed about it.

    A file whose lines end in LF is a message from this machine's disk. One that has both is
    left as it is: the relay would say what it thinks of it.
    """
    notes = []
    if b"\r\n" not in data and b"\n" in data:
        data = data.replace(b"\n", b"\r\n")
        notes.append("lines of the file end with LF; CRLF was put in its place")
    if data and not data.endswith(b"\r\n"):
        data += b"\r\n"
        notes.append("the last line of the file had no end; it was given one")
    return data, notes


def _with_domain(path: ForwardPath, postmaster: str) -> ForwardPath:
    """A bare <postmaster> is that of the configuration (RFC 5321 section 4.1.1.3)."""
    if path.mailbox.domain:
        return path
    full = postmaster if "@" in postmaster else f"postmaster@{postmaster}"
    return ForwardPath(Mailbox.from_text(full))


def _print(told: Report) -> None:
    if told.is_trusted:
        click.echo("The client is trusted (access.relay_from).\n")
    several = len(told.recipients) > 1
    if told.steps:
        print_table(
            ["Asked at", "Policy", "Mode", "Verdict", "Time", "Evidence and reasons"],
            [_row(step, several) for step in told.steps],
        )
    else:
        click.echo("No policy was asked.")
    click.echo()
    print_table(
        ["Recipient", "Outcome", "At", "Reply", "By", "Why"],
        [
            [one.forward_path, one.outcome, one.stage, one.reply, one.policy or "-", one.why]
            for one in told.recipients
        ],
    )
    for heading, fields in (("Would be added", told.added), ("Would be removed", told.removed)):
        if fields:
            click.echo(f"\n{heading}:")
            for field in fields:
                click.echo("  " + field.replace("\n", "\n  "))
    if told.next_hops:
        click.echo(f"\nWould be delivered to: {' '.join(told.next_hops)}")
    if told.score:
        click.echo(f"\nScore: {told.score:g}")
    if told.notes:
        click.echo("\nNotes:")
        for note in told.notes:
            click.echo(f"  {note}")
    click.echo(f"\nThe last reply would come after {_milliseconds(told.seconds)}.")


def _row(step: Step, several: bool) -> list[str]:
    stage = f"{step.stage} {step.recipient}" if step.recipient and several else step.stage
    why = "; ".join(filter(None, (*step.evidence, step.detail)))
    took = "-" if step.seconds is None else _milliseconds(step.seconds)
    return [stage, step.policy, step.mode, step.verdict, took, why]


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.2f} ms"
