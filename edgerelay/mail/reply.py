"""SMTP replies (RFC 5321 section 4.2) and enhanced status codes (RFC 3463)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

_ENHANCED: Final = re.compile(r"[245]\.\d{1,3}\.\d{1,3}")
_UNPRINTABLE: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Reply:
    """One reply. ``text`` is its first line, ``more`` the others; none holds CR or LF.

    ``enhanced`` is empty where RFC 2034 section 4 wants no code (220, 221's sisters 334 and
    354, the answer to EHLO) or where a next hop sent none. Never holds an exception's text.
    Raises ValueError for a value that could not be sent.
    """

    code: int
    enhanced: str
    text: str
    more: tuple[str, ...] = ()
    # Most replies are constants sent over and over: encoded once, when first asked for.
    _octets: bytes = field(default=b"", init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not 200 <= self.code <= 599:
            raise ValueError(f"{self.code} is no reply code")
        if self.enhanced:
            _check(self.code, self.enhanced)
        if self.text.isprintable() and not self.more:
            return  # nearly always, and the search costs more than the rest
        if any(map(_UNPRINTABLE.search, self.lines)):
            raise ValueError("a reply line holds a control character")

    @property
    def lines(self) -> tuple[str, ...]:
        return (self.text, *self.more)

    @property
    def is_positive(self) -> bool:
        return self.code < 400

    @property
    def is_transient(self) -> bool:
        return self.code // 100 == 4

    @property
    def is_permanent(self) -> bool:
        return self.code // 100 == 5

    @property
    def octets(self) -> bytes:
        """What goes over the wire, every line with its CRLF."""
        if not self._octets:
            object.__setattr__(self, "_octets", self._encode())
        return self._octets

    def __bytes__(self) -> bytes:
        return self.octets

    def _encode(self) -> bytes:
        prefix = f"{self.enhanced} " if self.enhanced else ""
        if not self.more:
            return f"{self.code} {prefix}{self.text}\r\n".encode()
        *head, last = self.lines
        text = "".join(f"{self.code}-{prefix}{line}\r\n" for line in head)
        return f"{text}{self.code} {prefix}{last}\r\n".encode()

    def __str__(self) -> str:
        """One line, for a log or a report."""
        return " ".join(filter(None, (str(self.code), self.enhanced, *self.lines)))


@lru_cache(maxsize=256)
def _check(code: int, enhanced: str) -> None:
    """Raise ValueError unless ``enhanced`` is a code, and of the class of ``code``."""
    if not _ENHANCED.fullmatch(enhanced):
        raise ValueError(f"{enhanced!r} is no enhanced status code")
    if enhanced[0] != str(code)[0]:
        raise ValueError(f"class of {enhanced} contradicts {code}")
