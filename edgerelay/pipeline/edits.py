"""What policies' edits come to, as octets: never more of a message than they name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from edgerelay.policy import AddScore, Edit, HeaderField, Prepend, Remove, RouteTo

_LINE: Final = 78  #: octets of a line (RFC 5322 section 2.1.1), unless a word is longer


@dataclass(frozen=True, slots=True)
class Edited:
    prepend: bytes = b""  #: fields, the last edit's uppermost
    removed: tuple[tuple[int, int], ...] = ()  #: (offset, length), in order and disjoint
    next_hops: tuple[str, ...] | None = None  #: where to deliver instead: the last word counts
    score: float = 0.0
    reasons: tuple[str, ...] = ()  #: of the score

    def below(self, field: bytes) -> Edited:
        """The same with a field above all others."""
        return replace(self, prepend=field + self.prepend)


def apply(edits: Sequence[Edit], also_removed: Sequence[HeaderField] = ()) -> Edited:
    """Sum up edits in their order; ``also_removed`` fields go with them."""
    prepended: list[bytes] = []
    removed = {field.start: len(field.raw) for field in also_removed}
    next_hops: tuple[str, ...] | None = None
    score, reasons = 0.0, []
    for edit in edits:
        match edit:
            case Prepend(name, value):
                prepended.insert(0, folded(name, value.split(" ")))
            case Remove(field):
                removed[field.start] = len(field.raw)
            case RouteTo(hops):
                next_hops = hops
            case AddScore(points, reason):
                score += points
                reasons.append(reason)
    ranges = tuple(sorted(removed.items()))
    return Edited(b"".join(prepended), ranges, next_hops, score, tuple(reasons))


def folded(name: str, words: Sequence[str]) -> bytes:
    """Write a field whose words are joined by one space, or by a fold where a line is full.

    Words are ASCII. An empty word is a space more; it goes with the word after it, since a
    line of white space alone is what RFC 5322 section 3.2.2 forbids. At the end there is none.
    """
    line = f"{name}:"
    start = len(line)  # a first line of the name alone would be no better
    lines: list[str] = []
    gap = ""
    for word in words:
        gap += " "
        if not word:
            continue
        piece = gap + word
        if len(line) + len(piece) > _LINE and (lines or len(line) > start):
            lines.append(line)
            line = piece
        else:
            line += piece
        gap = ""
    lines.append(line)
    return "\r\n".join(lines).encode("ascii") + b"\r\n"
