"""The grammar of commands: one production per name, its ABNF above it.

From RFC 5321 section 4.1.2 and section 4.1.3, RFC 6531 section 3.3 and RFC 3461 section 4.
A production raises `GrammarError`, which carries the reply; no reply repeats what the client
said. Where we differ from the ABNF on purpose:

- source routes are read and forgotten (RFC 5321 appendix C);
- a label may hold an underscore, because sending domains exist that do;
- white space after ``FROM:`` and ``TO:``, and more than one space between parameters, are
  passed over, as Postfix and Exim do;
- a local part with two dots in a row or one at its end is refused, as the ABNF has it,
  although Postfix takes it.

This page does not know which command may come when.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final

import idna

from edgerelay.mail.address import (
    NULL_REVERSE_PATH,
    ForwardPath,
    Mailbox,
    ReversePath,
)
from edgerelay.mail.reply import Reply


class GrammarError(Exception):
    """The client's octets are none of the productions. ``reply`` says so to the client."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(str(reply))
        self.reply = reply


_BAD_REVERSE_PATH: Final = Reply(501, "5.1.7", "Bad reverse-path syntax")
_BAD_FORWARD_PATH: Final = Reply(501, "5.1.3", "Bad forward-path syntax")
_NO_FROM: Final = Reply(501, "5.5.2", "Syntax: MAIL FROM:<address>")
_NO_TO: Final = Reply(501, "5.5.2", "Syntax: RCPT TO:<address>")
_BAD_NAME: Final = Reply(501, "5.5.2", "Syntax: EHLO or HELO, and a domain or address literal")

#: Octets (RFC 5321 section 4.5.3.1.1 to section 4.5.3.1.3).
_LOCAL_PART_LIMIT: Final = 64
_DOMAIN_LIMIT: Final = 255
_PATH_LIMIT: Final = 256

_UTF8_NON_ASCII: Final = "\u00a0-\U0010ffff"  # controls of C1 are in no production

# atext = ALPHA / DIGIT / "!" / "#" / … (RFC 5322 section 3.2.3)
_ATEXT: Final = r"A-Za-z0-9!#$%&'*+/=?^_`{|}~-"

# Dot-string = Atom *("."  Atom)
_DOT_STRING: Final = f"[{_ATEXT}]+(?:\\.[{_ATEXT}]+)*"

# sub-domain = Let-dig [Ldh-str], at most 63 octets (RFC 1035 section 2.3.4)
_SUB_DOMAIN: Final = "[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"

# Domain = sub-domain *("." sub-domain)
_DOMAIN: Final = f"{_SUB_DOMAIN}(?:\\.{_SUB_DOMAIN})*"

_domain: Final = re.compile(_DOMAIN)
_dot_string: Final = re.compile(_DOT_STRING)
_dot_string_utf8: Final = re.compile(_DOT_STRING.replace(_ATEXT, _UTF8_NON_ASCII + _ATEXT))

# Quoted-string = DQUOTE *QcontentSMTP DQUOTE
# QcontentSMTP = qtextSMTP / quoted-pairSMTP
# quoted-pairSMTP = %d92 %d32-126
# qtextSMTP = %d32-33 / %d35-91 / %d93-126 / UTF8-non-ascii
_quoted_string: Final = re.compile(rf'"(?:[ !#-\[\]-~{_UTF8_NON_ASCII}]|\\[ -~])*"')

# The path that nearly every command has; `_any_path` reads it to the same result.
_common_path: Final = re.compile(f"<({_DOT_STRING})@({_DOMAIN})>")

# Path = "<" [ A-d-l ":" ] Mailbox ">", cut into pieces that are looked at one by one.
_path_pieces: Final = re.compile(
    r'<(?:(@[^<>":]*):)?("(?:[^"\\]|\\.)*"|[^<>"@ ]*)(?:@(\[[^<>\[\] ]*\]|[^<>\[\]@ ]*))?>'
)

# General-address-literal = Standardized-tag ":" 1*dcontent
# dcontent = %d33-90 / %d94-126
_general_literal: Final = re.compile(r"[A-Za-z0-9-]*[A-Za-z0-9]:[!-Z^-~]+")

# What UTS 46 takes for a dot and RFC 6531 section 3.3 does not.
_OTHER_DOTS: Final = frozenset("\u3002\uff0e\uff61")

# What clients call themselves: a domain, an address literal, and in practice also names
# with underscores or a bare IPv6 address.
_hello_name: Final = re.compile(r"[A-Za-z0-9._:-]{1,255}|\[[A-Za-z0-9._:-]{1,253}\]")


def hello_name(argument: str) -> str:
    """``ehlo = "EHLO" SP ( Domain / address-literal ) CRLF``, leniently.

    RFC 5321 section 4.1.4: a name that is not what it should be is no reason to refuse mail;
    so only what could do harm in a Received field or a log is refused.
    """
    if _hello_name.fullmatch(argument) is None:
        raise GrammarError(_BAD_NAME)
    return argument


def reverse_path(argument: str) -> tuple[ReversePath, str]:
    """``"FROM:" Reverse-path``; returns also what follows it."""
    start = _after_keyword(argument, "FROM:", _NO_FROM)
    if argument.startswith("<>", start):
        return NULL_REVERSE_PATH, argument[start + 2 :]
    mailbox, rest = _path(argument, start, _BAD_REVERSE_PATH)
    return ReversePath(mailbox), rest


def forward_path(argument: str, postmaster: Mailbox) -> tuple[ForwardPath, str]:
    """``"TO:" ( "<Postmaster>" / Forward-path )``; returns also what follows it.

    RFC 5321 section 4.1.1.3: <Postmaster> without a domain, in any case, is always taken.
    """
    start = _after_keyword(argument, "TO:", _NO_TO)
    if argument[start : start + 12].lower() == "<postmaster>":
        return ForwardPath(postmaster), argument[start + 12 :]
    mailbox, rest = _path(argument, start, _BAD_FORWARD_PATH)
    return ForwardPath(mailbox), rest


def _after_keyword(argument: str, keyword: str, otherwise: Reply) -> int:
    start = len(keyword)
    if argument[:start].upper() != keyword:
        raise GrammarError(otherwise)
    while argument.startswith(" ", start):
        start += 1
    return start


def _path(argument: str, start: int, otherwise: Reply) -> tuple[Mailbox, str]:
    match = _common_path.match(argument, start)
    if match is not None:
        local_part, domain = match.groups()
        octets = len(local_part) + len(domain)  # it is ASCII
        if len(local_part) <= _LOCAL_PART_LIMIT and octets + len("<@>") <= _PATH_LIMIT:
            return Mailbox(local_part, domain), argument[match.end() :]
    return _any_path(argument, start, otherwise)


def _any_path(argument: str, start: int, otherwise: Reply) -> tuple[Mailbox, str]:
    match = _path_pieces.match(argument, start)
    if match is None:
        raise GrammarError(otherwise)
    route, local_part, domain = match.groups()
    if (
        len(match[0].encode()) > _PATH_LIMIT
        or not (route is None or is_route(route))
        or domain is None
        or not is_local_part(local_part)
        or not (is_address_literal(domain) if domain.startswith("[") else is_domain(domain))
    ):
        raise GrammarError(otherwise)
    return Mailbox(local_part, domain), argument[match.end() :]


def is_route(text: str) -> bool:
    """``A-d-l = At-domain *( "," At-domain )``, ``At-domain = "@" Domain``."""
    return all(part.startswith("@") and is_domain(part[1:]) for part in text.split(","))


def is_local_part(text: str) -> bool:
    """``Local-part = Dot-string / Quoted-string``, of at most 64 octets."""
    if len(text.encode()) > _LOCAL_PART_LIMIT:
        return False
    production = _quoted_string if text.startswith('"') else _dot_string_utf8
    return production.fullmatch(text) is not None


def is_domain(text: str) -> bool:
    """``Domain``, of at most 255 octets; labels may be U-labels (RFC 6531 section 3.3)."""
    if len(text.encode()) > _DOMAIN_LIMIT:
        return False
    if text.isascii():
        return _domain.fullmatch(text) is not None
    if not _OTHER_DOTS.isdisjoint(text):
        return False  # a next hop would see one label where we see two
    try:
        return is_domain(idna.encode(text, uts46=True).decode("ascii"))
    except idna.IDNAError:
        return False


def is_address_literal(text: str) -> bool:
    """``"[" ( IPv4-address-literal / IPv6-address-literal / General-address-literal ) "]"``.

    RFC 5321 section 4.1.3.
    """
    inside = text[1:-1]
    tag, colon, rest = inside.partition(":")
    try:
        if not colon:
            return bool(ipaddress.IPv4Address(inside))
        if tag.lower() == "ipv6":
            return "%" not in rest and bool(ipaddress.IPv6Address(rest))
    except ValueError:
        return False
    return _general_literal.fullmatch(inside) is not None
