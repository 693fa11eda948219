"""A message as a policy reads it: header fields as they came, the body in pieces."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True, eq=False)
class HeaderField:
    """One field of a header, octet for octet (RFC 5322 section 2.2).

    ``raw`` is all of it, folds and the final CRLF included. ``name`` is what stands before the
    colon in lower case, without the space that some put there; "" for a line that is no field.
    """

    name: str
    raw: bytes
    start: int  #: octets of content before it

    @property
    def value(self) -> bytes:
        """What follows the colon, folds and all, without the final CRLF."""
        return self.raw.partition(b":")[2].removesuffix(b"\r\n")

    @property
    def unfolded(self) -> str:
        """The value in one line, as UTF-8 or escapes, without outer space."""
        text = self.value.replace(b"\r\n", b"").decode("utf-8", "backslashreplace")
        return text.strip(" \t")


class Message(Protocol):
    """What came after DATA, dots unstuffed, without the fields that we will prepend."""

    @property
    def size(self) -> int:
        """Octets of it all."""

    @property
    def fields(self) -> Sequence[HeaderField]:
        """The header section, from the top down."""

    def named(self, name: str) -> Sequence[HeaderField]:
        """The fields of that name, in any case, from the top down."""

    @property
    def body(self) -> bytes | None:
        """The body, if it is small enough to be in memory; else see `chunks`."""

    def chunks(self) -> AsyncIterator[bytes]:
        """The body, at most 256 KiB at a time; begins anew with each call.

        A policy in observe mode has a body that is not in memory only until the reply is
        given, and is cut off then.
        """
