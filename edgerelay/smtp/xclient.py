"""XCLIENT: a proxy in front says whom it speaks for, as Postfix defines it.

Syntax alone; who may say it, and what follows from it, is decided elsewhere. Values are xtext
(RFC 3461 section 4), or one of two words for what the proxy does not know.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from edgerelay.mail.reply import Reply
from edgerelay.mail.xtext import decode_xtext
from edgerelay.smtp.events import XClient
from edgerelay.smtp.grammar import GrammarError, hello_name

_SYNTAX: Final = Reply(501, "5.5.4", "Syntax: XCLIENT attribute=value ...")
_BAD_ATTRIBUTE: Final = Reply(501, "5.5.4", "XCLIENT attribute not recognized, or given twice")
_BAD_VALUE: Final = Reply(501, "5.5.4", "Bad XCLIENT attribute value")

_UNKNOWN: Final = frozenset({"[UNAVAILABLE]", "[TEMPUNAVAIL]"})


def _address(value: str) -> str:
    """An IPv4 address, or ``IPV6:`` and an IPv6 address, without the zone that Python would take:
    whatever octets that is made of, they would stand in our Received field."""
    if "%" in value:
        raise ValueError
    if value[:5].upper() == "IPV6:":
        return str(IPv6Address(value[5:]))
    return str(IPv4Address(value))


def _port(value: str) -> str:
    if not (value.isascii() and value.isdigit() and len(value) <= 5 and int(value) < 65536):
        raise ValueError
    return value


def _protocol(value: str) -> str:
    if value.upper() not in ("SMTP", "ESMTP"):
        raise ValueError
    return value.upper()


def _text(value: str) -> str:
    if not value or len(value) > 255 or not value.isprintable():
        raise ValueError
    return value


_ATTRIBUTES: Final[Mapping[str, Callable[[str], str]]] = {
    "NAME": _text,
    "ADDR": _address,
    "PORT": _port,
    "PROTO": _protocol,
    "HELO": hello_name,
    "LOGIN": _text,
    "DESTADDR": _address,
    "DESTPORT": _port,
}
#: What EHLO tells.
KEYWORD: Final = " ".join(["XCLIENT", *_ATTRIBUTES])


def xclient(argument: str) -> XClient:
    """Read the argument of XCLIENT. Raises `GrammarError`."""
    attributes: dict[str, str | None] = {}
    for word in filter(None, argument.split(" ")):
        name, equals, value = word.partition("=")
        name = name.upper()
        if not equals or name not in _ATTRIBUTES or name in attributes:
            raise GrammarError(_BAD_ATTRIBUTE if equals else _SYNTAX)
        attributes[name] = None if value.upper() in _UNKNOWN else _value(name, value)
    if not attributes:
        raise GrammarError(_SYNTAX)
    return XClient(attributes)


def _value(name: str, value: str) -> str:
    try:
        return _ATTRIBUTES[name](decode_xtext(value, "strict"))
    except (ValueError, GrammarError):
        raise GrammarError(_BAD_VALUE) from None
