"""Domains, mailboxes and next hops as an administrator writes them."""

from __future__ import annotations

import re
from ipaddress import IPv6Address
from pathlib import Path
from typing import Final
from urllib.parse import unquote

import idna

from edgerelay.mail.address import Mailbox, domain_key
from edgerelay.relay.settings import HopKind, NextHop
from edgerelay.units import split_port

_LABEL: Final = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
# RFC 2045 section 5.1: what needs no quotes wherever it stands.
_TOKEN: Final = re.compile(r"[A-Za-z0-9!#$%&'*+\-.^_`{|}~]{1,253}")
_PORTS: Final = {HopKind.SMTP: 25, HopKind.SMTPS: 465, HopKind.LMTP: 24}
_FORMS: Final = (
    "expected smtp://HOST[:PORT], smtps://HOST[:PORT], lmtp://HOST[:PORT], "
    "lmtp+unix:///PATH, maildir:///PATH, mx:DOMAIN or mx"
)


def domain(value: object) -> str:
    """A domain as A-labels in lower case (RFC 5890), without a final dot. Raises ValueError."""
    if not isinstance(value, str):
        raise ValueError('expected a domain such as "example.com"')
    text = value.strip().removesuffix(".")
    if not text.isascii():
        try:
            text = idna.encode(text, uts46=True).decode("ascii")
        except idna.IDNAError:
            raise ValueError(f"{value!r} is no domain") from None
    key = domain_key(text)
    if len(key) > 253 or not all(_LABEL.fullmatch(label) for label in key.split(".")):
        raise ValueError(f"{value!r} is no domain")
    return key


def route_domain(value: object) -> str:
    """``"example.com"``, ``".example.com"`` (its subdomains) or ``"*"``."""
    if value == "*":
        return "*"
    if isinstance(value, str) and value.startswith("."):
        return "." + domain(value[1:])
    return domain(value)


def mailbox(value: object) -> str:
    """``"postmaster@example.com"``; the local part stays as it is."""
    try:
        parsed = Mailbox.from_text(value if isinstance(value, str) else "")
        domain(parsed.domain)
    except ValueError:
        raise ValueError('expected a mailbox such as "postmaster@example.com"') from None
    if " " in parsed.local_part or "@" in parsed.local_part:
        raise ValueError('expected a mailbox such as "postmaster@example.com"')
    return str(parsed)


def authserv_id(value: object) -> str:
    """Who vouches for an Authentication-Results field (RFC 8601 section 2.5); "" is nobody yet.

    A token alone, though the RFC allows any text in quotes: no one else can misread it.
    """
    if value == "" or (isinstance(value, str) and _TOKEN.fullmatch(value)):
        return str(value)
    raise ValueError('expected a name such as "mx.example.com"')


def next_hop(value: object) -> NextHop:
    """One URL of ``next_hop``. Raises ValueError with the forms there are."""
    if not isinstance(value, str):
        raise ValueError(_FORMS)
    if value == "mx":
        return NextHop(HopKind.MX)
    if value.startswith("mx:"):
        return NextHop(HopKind.MX, host=domain(value[3:]))
    scheme, separator, rest = value.partition("://")
    try:
        kind = HopKind(scheme)
    except ValueError:
        raise ValueError(_FORMS) from None
    if not separator or kind is HopKind.MX or any(c <= " " or c == "\x7f" for c in value):
        raise ValueError(_FORMS)
    if kind in _PORTS:
        return _network_hop(kind, rest)
    return _path_hop(kind, rest)


def _network_hop(kind: HopKind, rest: str) -> NextHop:
    try:
        host, port = split_port(rest.removesuffix("/"))
    except ValueError:
        raise ValueError(_FORMS) from None
    if not host or port == 0:
        raise ValueError(_FORMS)
    host = host if ":" in host else domain(host)  # an IPv4 literal is a fine domain, too
    if ":" in host:
        host = str(IPv6Address(host))
    return NextHop(kind, host=host, port=_PORTS[kind] if port is None else port)


def _path_hop(kind: HopKind, rest: str) -> NextHop:
    path = Path(unquote(rest))
    if not path.is_absolute() or path == Path("/"):
        raise ValueError(f"expected {kind.value}:///PATH with an absolute path")
    if kind is HopKind.MAILDIR:
        _check_template(str(path))
    return NextHop(kind, path=path)


def _check_template(path: str) -> None:
    """Only {local_part} and {domain} may stand in a Maildir's path, each within one folder."""
    plain = path.replace("{local_part}", "x").replace("{domain}", "x")
    if "{" in plain or "}" in plain:
        raise ValueError("a maildir path knows {local_part} and {domain} only")
    if ".." in Path(plain).parts:
        raise ValueError("a maildir path must not lead upwards (..)")
