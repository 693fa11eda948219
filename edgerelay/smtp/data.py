"""Mail data on its way in: they end at CRLF "." CRLF and nowhere else, or after so many octets.

RFC 5321 section 4.5.2 (transparency) and section 2.3.8 (lines end with CRLF); RFC 3030 section 2
(chunks). The readers know nothing of replies: they tell what the content was, and what was wrong
with it. They hold back four octets at most, and look at octets in bulk: the first expression below
is one pass in C over a chunk in which no line begins with a dot, and that is nearly all of them.
"""

from __future__ import annotations

import re
from typing import Final

from edgerelay.smtp.events import DataProblem

_END: Final = b"\r\n.\r\n"

#: A CR that is anything but the end of a line followed by a line without a leading dot.
_ODD: Final = re.compile(rb"\r(?!\n[^.])")
_BARE_CR: Final = re.compile(rb"\r(?!\n)")
_BARE_LF: Final = re.compile(rb"(?<!\r)\n")

#: Octets of a text line without its CRLF (RFC 5321 section 4.5.3.1.6).
LINE_LIMIT: Final = 998


class _ContentReader:
    """What is the same for all content, however it comes: its size, its lines, its newlines.

    ``limit`` is in octets of content, 0 for none. ``normalize``: a bare LF becomes CRLF and a bare
    CR a space, as in Postfix, instead of being a problem; neither ever ends anything.
    """

    __slots__ = ("_bare", "_limit", "_line", "_long", "_normalize", "_reject_long", "size")

    def __init__(
        self, limit: int, *, reject_long_lines: bool = False, normalize: bool = False
    ) -> None:
        self._limit = limit
        self._reject_long = reject_long_lines
        self._normalize = normalize
        self._bare = False
        self._long = False
        self._line = 0  # octets of the line whose end has not come yet
        self.size = 0  #: octets of content so far

    @property
    def problem(self) -> DataProblem | None:
        if self._bare:
            return DataProblem.BARE_NEWLINE
        if self._limit and self.size > self._limit:
            return DataProblem.TOO_BIG
        return DataProblem.LONG_LINE if self._long else None

    def _note_bare(self, content: bytes) -> bytes:
        """There is a CR or an LF alone in ``content``, which cuts no CRLF in two."""
        if self._normalize:
            return _BARE_LF.sub(b"\r\n", _BARE_CR.sub(b" ", content))
        self._bare = True
        return content

    def _accept(self, content: bytes) -> bytes:
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


class DataReader(_ContentReader):
    """Reads the content of one message after DATA.

    Content, size and problem do not depend on how the octets were cut into pieces.
    """

    __slots__ = ("_held",)

    def __init__(
        self, limit: int, *, reject_long_lines: bool = False, normalize: bool = False
    ) -> None:
        super().__init__(limit, reject_long_lines=reject_long_lines, normalize=normalize)
        # Content begins as if after a CRLF, so that a dot may end it at once. These two are
        # no content: whence the size that is not 0. It is true once there is some, or the end.
        self._held = b"\r\n"
        self.size = -2

    def feed(self, data: bytes) -> tuple[bytes, bytes | None]:
        """Return the content in ``data``, and what follows its end (None: no end yet).

        Content may be empty, and is once there is a `problem`. Not to be called after the end.
        """
        window = self._held + data
        stop = len(window) - _length_of_possible_end(window)
        rest: bytes | None = None
        bare = False
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
                bare = _BARE_CR.search(content) is not None
                content = content.replace(b"\r\n.", b"\r\n")
        self._held = window[stop:]
        if not self._bare:
            # With every CR followed by its LF, equal numbers mean that every LF has its CR.
            # Leaving them out and measuring what is left is twice as fast as counting them.
            lone = len(content.replace(b"\n", b"")) != len(content.replace(b"\r", b""))
            if bare or lone:
                content = self._note_bare(content)
        if self.size < 0 and content:
            content = content[2:]
            self.size = 0
        return self._accept(content), rest


class ChunkReader(_ContentReader):
    """Reads the content of one message that comes in BDAT chunks.

    Nothing in it ends it, and no dot is doubled. A CRLF may be cut in two by the end of a chunk.
    ``binary``: behind its header it has no lines, and no octet is a problem (RFC 3030 section 3).
    """

    __slots__ = ("_binary", "_held", "_in_header")

    def __init__(
        self,
        limit: int,
        *,
        reject_long_lines: bool = False,
        normalize: bool = False,
        binary: bool = False,
    ) -> None:
        long_lines = reject_long_lines and not binary
        super().__init__(limit, reject_long_lines=long_lines, normalize=normalize)
        self._binary = binary
        self._in_header = binary
        # Of binary content these are what its header was looked at last: as if after a CRLF.
        self._held = b"\r\n" if binary else b""

    def feed(self, data: bytes) -> bytes:
        """Return the content in ``data``; it may be empty, and is once there is a `problem`."""
        if self._binary:
            if self._in_header:
                self._look_at_header(data)
            return self._accept(data)
        content = self._held + data
        self._held = b""
        if content.endswith(b"\r"):
            content, self._held = content[:-1], b"\r"
        return self._take(content)

    def finish(self) -> bytes:
        """The last chunk is over: return what was held back. Idempotent."""
        content, self._held = self._held, b""
        if self._binary:
            self._bare = self._bare or (self._in_header and content.endswith(b"\r"))
            return b""
        return self._take(content)

    def _look_at_header(self, data: bytes) -> None:
        """Its lines end with CRLF, in binary content too: whoever takes an LF for that would see
        fields where we see none."""
        window = self._held + data
        end = window.find(b"\r\n\r\n")
        self._in_header = end < 0
        header = window if end < 0 else window[: end + 2]
        self._held = window[-3:]
        # What begins or ends it may be half of a CRLF.
        rest = header.removeprefix(b"\n").removesuffix(b"\r").replace(b"\r\n", b"")
        if b"\r" in rest or b"\n" in rest:
            self._bare = True

    def _take(self, content: bytes) -> bytes:
        if not self._bare:
            rest = content.replace(b"\r\n", b"")  # a tenth of what an expression costs
            if b"\r" in rest or b"\n" in rest:
                content = self._note_bare(content)
        return self._accept(content)


def _length_of_possible_end(window: bytes) -> int:
    """How many octets at the end of ``window`` may turn out to belong to the final dot."""
    last = window[-1:]
    if last == b"\n":
        return 2 if window.endswith(_END[:2]) else 0
    if last == b"\r":
        return 4 if window.endswith(_END[:4]) else 1
    return 3 if window.endswith(_END[:3]) else 0
