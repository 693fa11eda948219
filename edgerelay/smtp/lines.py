"""Command lines on their way in: bounded, ended by CRLF alone, consumed without rescans.

RFC 5321 section 2.3.8 and section 4.5.3.1.4. A line that holds a bare CR or LF, or that is
too long, is one refused line up to its CRLF: what follows the bare newline is never read as
a command. Knows nothing of what a line means.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from edgerelay.mail.reply import Reply
from edgerelay.smtp.excerpt import excerpt

#: Octets with the CRLF. RFC 5321 section 4.5.3.1.4 asks for 512 and room for what is
#: offered: MAIL may grow by SIZE, BODY, SMTPUTF8, RET and ENVID to about 690, RCPT by NOTIFY
#: and ORCPT (RFC 3461 section 4.2: 500) to about 1060. Twice that, one limit for all.
LINE_LIMIT: Final = 2048

_TOO_LONG: Final = Reply(500, "5.5.2", "Line too long")
_BARE: Final = Reply(500, "5.5.2", "Lines end with CRLF; bare CR and LF are not accepted")


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that is no command. ``excerpt`` is escaped."""

    reply: Reply
    excerpt: str


class LineBuffer:
    """Cuts octets into lines. Memory is bounded if lines are taken before more is fed."""

    __slots__ = ("_buffer", "_position", "_skipping")

    def __init__(self) -> None:
        self._buffer = b""
        self._position = 0
        self._skipping = False  # inside a line that has had its answer

    def feed(self, data: bytes) -> None:
        if self._position >= len(self._buffer):
            self._buffer = data
        else:
            self._buffer = self._buffer[self._position :] + data
        self._position = 0

    @property
    def is_empty(self) -> bool:
        return self._position >= len(self._buffer) and not self._skipping

    def peek(self) -> int | None:
        """The first octet of the next line, or None if it has not come."""
        if self._skipping or self._position >= len(self._buffer):
            return None
        return self._buffer[self._position]

    def take_all(self) -> bytes:
        """Everything that is buffered, for a reader of another kind."""
        rest = self._buffer[self._position :] if self._position else self._buffer
        self.clear()
        return rest

    def take(self, limit: int) -> bytes:
        """So many octets at most, whatever they are."""
        if len(self._buffer) - self._position <= limit:
            return self.take_all()
        taken = self._buffer[self._position : self._position + limit]
        self._position += limit
        return taken

    def clear(self) -> None:
        self._buffer, self._position, self._skipping = b"", 0, False

    def next_line(self) -> bytes | BadLine | None:
        """Return the next line without its CRLF; None if its end has not come."""
        if not self._buffer or (self._skipping and not self._skip()):
            return None
        start, buffer = self._position, self._buffer
        end = buffer.find(b"\r\n", start, start + LINE_LIMIT)
        if end < 0:
            return self._without_end()
        line = buffer[start:end]
        if end + 2 == len(buffer):  # nearly always: then the next question is cheap
            self._buffer, self._position = b"", 0
        else:
            self._position = end + 2
        if 0x0A in line or 0x0D in line:
            return BadLine(_BARE, excerpt(line.partition(b"\n")[0]))
        return line

    def _without_end(self) -> BadLine | None:
        """Refuse at once what cannot become a good line any more, and skip to its CRLF."""
        head = self._buffer[self._position : self._position + LINE_LIMIT]
        bare = head.find(b"\n")
        if bare < 0 and len(head) < LINE_LIMIT:
            return None
        self._skipping = True
        if bare >= 0:
            return BadLine(_BARE, excerpt(head[:bare]))
        return BadLine(_TOO_LONG, excerpt(head))

    def _skip(self) -> bool:
        end = self._buffer.find(b"\r\n", self._position)
        self._skipping = end < 0
        if end >= 0:
            self._position = end + 2
            return True
        # The CR of the CRLF may be the last octet that has come.
        self._buffer = b"\r" if self._buffer.endswith(b"\r") else b""
        self._position = 0
        return False
