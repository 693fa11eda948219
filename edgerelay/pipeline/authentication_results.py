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
_ADDRESS: Final = re.compile(
    r"(?:[A-Za-z0-9!#$%&'*+\-^_`{|}~]+(?:\.[A-Za-z0-9!#$%&'*+\-^_`{|}~]+)*)?"
    r"@[A-Za-z0-9\-]+(?:\.[A-Za-z0-9\-]+)*"
)
_LONGEST: Final = 256  #: characters of one value
_MOST: Final = 40  #: results in a field

#: Characters of a field within which its identifier must end: it stands at the beginning.
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
    """The fields of that name which say that one of ``names`` said it (RFC 8601 section 5).

    So does one of which nobody can tell who says it: a comment or a quoted-string that does
    not end, or 8 KiB of them. What a lenient reader would take it for is not known.
    """
    ours = {domain_key(name) for name in names}
    return [
        each
        for each in fields
        if each.name == "authentication-results"
        and ((name := _identifier(each)) is None or domain_key(name) in ours)
    ]


def _identifier(field: HeaderField) -> str | None:
    """The authserv-id: what is no comment or space and comes first, quoted or not.

    "" if there is none, None if it cannot be told.
    """
    value = field.value
    text = value[:_LOOKED_AT].decode("utf-8", "replace")
    position = _after_comments(text)
    if position is None or (position == len(text) and len(value) > _LOOKED_AT):
        return None
    if text.startswith('"', position):
        found = _QUOTED.match(text, position)
        name = None if found is None else re.sub(r"\\(.)", r"\1", found[1]).strip(_CONTROLS)
    else:
        found = _BARE.match(text, position)
        name = "" if found is None else found[0]
    return None if name is None or len(name) > _LONGEST_NAME else name.strip()


def _after_comments(text: str) -> int | None:
    """Where CFWS (RFC 5322 section 3.2.2) ends; None if a comment does not, or never began."""
    depth = 0
    for count, found in enumerate(_PIECE.finditer(text)):
        piece = found[0]
        if piece[0] == "(":
            depth += len(piece)
        elif piece[0] == ")":
            depth -= len(piece)
        elif not depth and not _BLANK.match(piece):
            return found.start()
        if depth < 0 or count == _MOST_PIECES:
            return None
    return None if depth else len(text)


_MOST_PIECES: Final = 500  #: parentheses, and what stands between them
_LONGEST_NAME: Final = 1024
_CONTROLS: Final = "".join(map(chr, (*range(0x21), 0x7F)))
# Control characters and spaces of any script are taken for space, as some reader may do.
_BLANK: Final = re.compile(r"[\s\x00-\x20\x7f]+")
_PIECE: Final = re.compile(r"\\.|\(+|\)+|[\s\x00-\x20\x7f]+|[^()\\\s\x00-\x20\x7f]+|\\", re.DOTALL)
_QUOTED: Final = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_BARE: Final = re.compile(r'[^\s\x00-\x20\x7f;()"]+')


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
    """Without parentheses; a mail reader may decode what looks like an encoded-word."""
    return re.sub(r"[()\\]", " ", _ascii(text)).replace("=?", "= ?").strip() or "-"


def _ascii(text: str) -> str:
    """Printable ASCII, bounded; everything else as an escape that cannot be mistaken for it."""
    cut = text[:_LONGEST]
    plain = "".join(c if c.isprintable() else " " for c in cut)
    return plain.encode("ascii", "backslashreplace").decode()[: _LONGEST + 64]
