"""The Authentication-Results field (RFC 8601): composed once, and its forgeries found.

What is quoted in it comes from strangers. So each piece is written as a token or a
quoted-string of printable ASCII and bounded length, and what fits neither form is escaped.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from typing import Final

from edgerelay.mail.address import domain_key
from edgerelay.pipeline.edits import folded
from edgerelay.policy import AuthenticationResult, HeaderField

NAME: Final = "Authentication-Results"

# token: RFC 2045 section 5.1, without what a comment or a result would end at. A pvalue may
# also be [local-part] "@" domain-name (RFC 8601 section 2.2), bare where it is plain.
_TOKEN: Final = re.compile(r"[A-Za-z0-9!#$%&'*+\-.^_`{|}~]{1,256}")
_ADDRESS: Final = re.compile(r"[A-Za-z0-9!#$%&'*+\-.^_`{|}~]{0,64}@[A-Za-z0-9.\-]{1,255}")
_LONGEST: Final = 256  #: characters of one value
_MOST: Final = 40  #: results in a field

#: Of a forged field only this much is read: the identifier stands at its beginning.
_LOOKED_AT: Final = 8192


def field(authserv_id: str, results: Iterable[AuthenticationResult]) -> bytes:
    """Compose the field, CRLF included (RFC 8601 section 2.2). No result is ``none``."""
    words = [_value(authserv_id)]
    count = 0
    for result in results:
        if count == _MOST:
            break
        count += 1
        words[-1] += ";"
        words.append(f"{_keyword(result.method)}={_keyword(result.result)}")
        if result.comment:
            words += f"({_comment(result.comment)})".split(" ")
        if result.reason:
            words.append(f"reason={_quoted(result.reason)}")
        words += [
            f"{_keyword(name)}={_value(value)}" for name, value in result.properties if value
        ]
    if not count:
        words[-1] += ";"
        words.append("none")
    return folded(NAME, words)


def forged(fields: Sequence[HeaderField], names: Collection[str]) -> list[HeaderField]:
    """The fields of that name which say that one of ``names`` said it (RFC 8601 section 5)."""
    ours = {domain_key(name) for name in names}
    return [
        each
        for each in fields
        if each.name == "authentication-results" and domain_key(_identifier(each)) in ours
    ]


def _identifier(field: HeaderField) -> str:
    """The authserv-id: what is no comment or space and comes first, quoted or not.

    Lenient, since what is meant to deceive a reader need not be well-formed: an unended
    comment or string is taken as it is, and an encoded separator ends the name.
    """
    text = field.value[:_LOOKED_AT].decode("utf-8", "replace")
    position, depth = 0, 0
    while position < len(text):
        character = text[position]
        if depth and character == "\\":
            position += 2
            continue
        if character == "(":
            depth += 1
        elif character == ")" and depth:
            depth -= 1
        elif not depth and character not in " \t\r\n":
            break
        position += 1
    rest = text[position:]
    if rest.startswith('"'):
        match = _QUOTED.match(rest)
        return "" if match is None else re.sub(r"\\(.)", r"\1", match[1]).strip()
    match = _UNQUOTED.match(rest)
    return "" if match is None else match[0]


_QUOTED: Final = re.compile(r'"((?:[^"\\]|\\.){0,1024})', re.DOTALL)
_UNQUOTED: Final = re.compile(r'[^\s;()"]{1,1024}')


def _keyword(text: str) -> str:
    """A method, result or property name is ours or a policy's: still, only what may be one."""
    return re.sub(r"[^A-Za-z0-9.\-]", "-", text)[:64] or "unknown"


def _value(text: str) -> str:
    if _TOKEN.fullmatch(text) or _ADDRESS.fullmatch(text):
        return text
    return _quoted(text)


def _quoted(text: str) -> str:
    """A quoted-string (RFC 5322 section 3.2.4) in one word: its spaces are never folded."""
    return '"' + re.sub(r'(["\\])', r"\\\1", _ascii(text)) + '"'


def _comment(text: str) -> str:
    return re.sub(r"[()\\]", " ", _ascii(text)).strip() or "-"


def _ascii(text: str) -> str:
    """Printable ASCII, bounded; everything else as an escape that cannot be mistaken for it."""
    cut = text[:_LONGEST]
    plain = "".join(c if c.isprintable() else " " for c in cut)
    return plain.encode("ascii", "backslashreplace").decode()[: _LONGEST + 64]
