"""Mail data on its way in: it ends at CRLF "." CRLF and nowhere else.

RFC 5321 section 4.5.2 (transparency) and section 2.3.8 (lines end with CRLF). The reader
knows nothing of replies: it tells what the content was, and what was wrong with it. It holds
back four octets at most, and looks at octets in bulk: the first expression below is one pass
in C over a chunk in which no line begins with a dot, and that is nearly all of them.
"""

from __future__ import annotations

import re
from typing import Final

from edgerelay.smtp.events import DataProblem

_END: Final = b"\r\n.\r\n"

#: A CR that is anything but the end of a line followed by a line without a leading dot.
_ODD: Final = re.compile(rb"\r(?!\n[^.])")
_BARE_CR: Final = re.compile(rb"\r(?!\n)")

#: Octets of a text line without its CRLF (RFC 5321 section 4.5.3.1.6).
LINE_LIMIT: Final = 998


class DataReader:
    """Reads the content of one message. ``limit`` is in octets of content, 0 for none.

    Content, size and problem do not depend on how the octets were cut into pieces.
    """

    __slots__ = ("_bare", "_held", "_limit", "_line", "_long", "_reject_long", "size")

    def __init__(self, limit: int, *, reject_long_lines: bool = False) -> None:
        self._limit = limit
        self._reject_long = reject_long_lines
        self._bare = False
        self._long = False
        self._line = 0  # octets of the line whose end has not come yet
        # Content begins as if after a CRLF, so that a dot may end it at once. These two are
        # no content: whence the size that is not 0.
        self._held = b"\r\n"
        self.size = -2  #: octets of content so far; true once there is some, or the end

    @property
    def problem(self) -> DataProblem | None:
        if self._bare:
            return DataProblem.BARE_NEWLINE
        if self._limit and self.size > self._limit:
            return DataProblem.TOO_BIG
        return DataProblem.LONG_LINE if self._long else None

    def feed(self, data: bytes) -> tuple[bytes, bytes | None]:
        """Return the content in ``data``, and what follows its end (None: no end yet).

        Content may be empty, and is once there is a `problem`. Not to be called after the end.
        """
        window = self._held + data
        stop = len(window) - _length_of_possible_end(window)
        rest: bytes | None = None
        odd = _ODD.search(window, 0, stop)
        if odd is None:
            content = window[:stop]
        else:
            end = window.find(_END, odd.start())
            if end >= 0:
                stop = end + 2  # the CRLF before the dot belongs to the content
                rest = window[end + len(_END) :]
            content = window[:stop]
            if odd.start() != end:
                self._bare = self._bare or _BARE_CR.search(content) is not None
                content = content.replace(b"\r\n.", b"\r\n")
        self._held = window[stop:]
        # Every CR has its LF by now; so equal numbers mean that every LF has its CR. Leaving
        # them out and measuring what is left is twice as fast as counting them.
        if not self._bare and len(content.replace(b"\n", b"")) != len(content.replace(b"\r", b"")):
            self._bare = True
        return self._accept(content), rest

    def _accept(self, content: bytes) -> bytes:
        if self.size < 0 and content:
            content = content[2:]
            self.size = 0
        self.size += len(content)
        if self._reject_long and not self._long:
            self._measure_lines(content)
        return b"" if self.problem is not None else content

    def _measure_lines(self, content: bytes) -> None:
        """Jump from line end to line end, a thousand octets at a time."""
        start = -self._line  # where the current line began, seen from this content
        while len(content) - start > LINE_LIMIT:
            # The last CRLF that leaves what precedes it short enough; lines are never empty
            # of progress, since each jump ends behind a CRLF.
            reach = start + LINE_LIMIT + 2
            crlf = content.rfind(b"\r\n", max(start, 0), max(reach, 0))
            if crlf < 0:
                self._long = True
                return
            start = crlf + 2
        crlf = content.rfind(b"\r\n", max(start, 0))
        self._line = len(content) - (start if crlf < 0 else crlf + 2)


def _length_of_possible_end(window: bytes) -> int:
    """How many octets at the end of ``window`` may turn out to belong to the final dot."""
    last = window[-1:]
    if last == b"\n":
        return 2 if window.endswith(_END[:2]) else 0
    if last == b"\r":
        return 4 if window.endswith(_END[:4]) else 1
    return 3 if window.endswith(_END[:3]) else 0
