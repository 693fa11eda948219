"""The hash of a body, canonical by the rules of RFC 6376 section 3.4, piece by piece.

Nothing here grows with the body: of what went by, only the white space and the number of empty
lines are kept that may yet turn out to be its end.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from typing import Final

from edgerelay_policies.dkim.library import strip_trailing_whitespace
from edgerelay_policies.dkim.signature import Canonicalization

_CRLF: Final = b"\r\n"
_EMPTY_LINES: Final = _CRLF * 16384


class BodyHashes:
    """SHA-256 of a body in every form that its signatures ask for.

    ``wanted`` are pairs of an algorithm and l=, None for all of the body.
    """

    def __init__(self, wanted: Iterable[tuple[Canonicalization, int | None]]) -> None:
        self._hashes = {pair: _Hash(pair[1]) for pair in wanted}
        self._bodies = {
            name: _BODIES[name]([hash_ for (n, _), hash_ in self._hashes.items() if n == name])
            for name in {name for name, _ in self._hashes}
        }

    def update(self, piece: bytes) -> None:
        for body in self._bodies.values():
            body.update(piece)

    def finish(self) -> None:
        for body in self._bodies.values():
            body.finish()

    def digest(self, name: Canonicalization, length: int | None) -> bytes:
        return self._hashes[name, length].digest()

    def size(self, name: Canonicalization) -> int:
        """Octets of the canonical body."""
        return self._bodies[name].size


class _Hash:
    """SHA-256 of at most ``limit`` octets."""

    __slots__ = ("_left", "_sha256")

    def __init__(self, limit: int | None) -> None:
        self._left = limit
        self._sha256 = hashlib.sha256()

    def update(self, octets: bytes) -> None:
        if self._left is not None:
            octets = octets[: self._left]
            self._left -= len(octets)
        self._sha256.update(octets)

    def digest(self) -> bytes:
        return self._sha256.digest()


class _SimpleBody:
    """RFC 6376 section 3.4.3: empty lines at the end are one CRLF, also of an empty body."""

    def __init__(self, hashes: list[_Hash]) -> None:
        self._hashes = hashes
        self._return = b""  # a CR whose LF may follow
        self._empty_lines = 0  # CRLFs that may be the end
        self.size = 0

    def update(self, piece: bytes) -> None:
        octets = self._return + piece
        self._return = b"\r" if octets.endswith(b"\r") else b""
        end = len(octets) - len(self._return)
        lines = _line_ends(octets, end)
        end -= 2 * lines
        if end:
            self._put_lines()
            self._put(octets if end == len(octets) else octets[:end])
        self._empty_lines += lines

    def finish(self) -> None:
        if self._return:
            self._put_lines()
            self._put(self._return)
        self._put(_CRLF)

    def _put_lines(self) -> None:
        while self._empty_lines:
            lines = min(self._empty_lines, len(_EMPTY_LINES) // 2)
            self._put(_EMPTY_LINES[: 2 * lines])
            self._empty_lines -= lines

    def _put(self, octets: bytes) -> None:
        self.size += len(octets)
        for each in self._hashes:
            each.update(octets)


class _RelaxedBody(_SimpleBody):
    """RFC 6376 section 3.4.4: no white space at the end of a line, one space elsewhere."""

    def __init__(self, hashes: list[_Hash]) -> None:
        super().__init__(hashes)
        self._held = b""  # white space, one octet of it, and a CR: may be a line's end

    def update(self, piece: bytes) -> None:
        octets = strip_trailing_whitespace(self._held + piece)
        rest = octets.removesuffix(b"\r").removesuffix(b" ")
        self._held = octets[len(rest) :]
        super().update(rest)

    def finish(self) -> None:
        super().update(self._held)
        if self.size or self._return:  # else nothing but empty lines: no body at all
            super().finish()


_BODIES: Final[dict[Canonicalization, Callable[[list[_Hash]], _SimpleBody]]] = {
    "simple": _SimpleBody,
    "relaxed": _RelaxedBody,
}


def _line_ends(octets: bytes, end: int) -> int:
    """How many CRLFs stand before ``end`` with nothing between them."""
    text = octets[:end] if end < len(octets) else octets
    tail = len(text) - len(text.rstrip(_CRLF))
    if text.endswith(_CRLF * (tail // 2)):
        return tail // 2
    lines = 0  # there are stray CRs or LFs
    while text.endswith(_CRLF, 0, end - 2 * lines):
        lines += 1
    return lines
