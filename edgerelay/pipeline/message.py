"""The message as policies read it, over content that lies in memory or in a file."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Final, Protocol

from edgerelay.mail.headers import has_no_header
from edgerelay.policy import HeaderField

#: Octets of a header section; a longer one is refused, since it must be read as a whole.
HEADER_LIMIT: Final = 4 * 1024 * 1024
#: Fields in it; each becomes an object, and a million would stop everything else for seconds.
FIELDS_LIMIT: Final = 10_000
PIECE: Final = 256 * 1024  #: octets read at once

_END: Final = b"\r\n\r\n"


class HeaderTooLarge(Exception):
    """The header section is over `HEADER_LIMIT`, or has over `FIELDS_LIMIT` fields."""


class ReadableContent(Protocol):
    """What the spool keeps of a message that is not committed yet."""

    @property
    def size(self) -> int: ...

    def whole(self) -> bytes | None:
        """All of it, if it is in memory."""

    async def read(self, offset: int, length: int) -> bytes: ...


class ReadMessage:
    """Implements `edgerelay.policy.Message`; made by `read_message`."""

    __slots__ = ("_body", "_content", "_fields", "_header", "_start", "_whole", "size")

    def __init__(self, content: ReadableContent, header: bytes, start: int) -> None:
        """``header`` is the section with the CRLF of its last field; the body begins at
        ``start``."""
        self.size = content.size
        self._content = content
        self._header = header
        self._start = start
        # Held, since who only observes may read on when the content has been handed over.
        self._whole = content.whole()
        self._fields: tuple[HeaderField, ...] | None = None
        self._body: bytes | None = None

    @property
    def fields(self) -> Sequence[HeaderField]:
        if self._fields is None:
            self._fields = tuple(_fields(self._header))
        return self._fields

    def named(self, name: str) -> Sequence[HeaderField]:
        wanted = name.lower()
        if (
            self._fields is None
            and wanted.encode("latin-1", "replace") not in self._header.lower()
        ):
            return ()  # nearly always: cheaper than to cut the header, or all that is asked
        return [field for field in self.fields if field.name == wanted]

    @property
    def body(self) -> bytes | None:
        if self._body is None and self._whole is not None:
            self._body, self._whole = self._whole[self._start :], None
        return self._body

    def chunks(self) -> AsyncIterator[bytes]:
        return _Chunks(self, self._content, self._start)


class _Chunks:
    """The content from an offset on. No generator, so that a reader may leave it half-way."""

    __slots__ = ("_content", "_message", "_offset", "_start")

    def __init__(self, message: ReadMessage, content: ReadableContent, start: int) -> None:
        self._message = message
        self._content = content
        self._start = self._offset = start

    def __aiter__(self) -> _Chunks:
        return self

    async def __anext__(self) -> bytes:
        if self._offset >= self._message.size:
            raise StopAsyncIteration
        if (body := self._message.body) is not None:
            begin = self._offset - self._start
            piece = body[begin : begin + PIECE]
        else:
            piece = await _read(self._content, self._offset, self._message.size)
        self._offset += len(piece)
        return piece


async def _read(content: ReadableContent, offset: int, size: int) -> bytes:
    """The next piece; never an empty one, with which a loop would not end."""
    piece = await content.read(offset, min(PIECE, size - offset))
    if not piece:
        raise EOFError("the content is shorter than its size")
    return piece


async def read_message(content: ReadableContent) -> ReadMessage:
    """Find the header section of a content.

    Raises `HeaderTooLarge`, what ``content`` raises, and EOFError if it ends too soon.

    A header ends at the first empty line (RFC 5322 section 2.1); content without one is all
    header, as a relay before us would read it, and content that begins with white space has none:
    it would go on with a field, and there is none.
    """
    data = content.whole()
    if data is None:
        data = await _beginning(content)
    if data.startswith(b"\r\n"):
        return ReadMessage(content, b"", 2)
    if has_no_header(data):
        return ReadMessage(content, b"", 0)
    end = data.find(_END)
    if end < 0:
        end = len(data)
        if end > HEADER_LIMIT:
            raise HeaderTooLarge
        return ReadMessage(content, _within_limits(data), end)
    if end > HEADER_LIMIT:
        raise HeaderTooLarge
    return ReadMessage(content, _within_limits(data[: end + 2]), end + 4)


def _ends_at_once(data: bytes) -> bool:
    return data.startswith(b"\r\n") or has_no_header(data)


def _within_limits(header: bytes) -> bytes:
    lines = header.count(b"\n")  # nearly always few, and quickly counted
    if lines > FIELDS_LIMIT and len(_FIELD_END.findall(header)) > FIELDS_LIMIT:
        raise HeaderTooLarge
    return header


async def _beginning(content: ReadableContent) -> bytes:
    """As much as holds the end of the header, or shows that it is too far away."""
    pieces: list[bytes] = []
    offset = 0
    tail = b""
    while offset < content.size and offset <= HEADER_LIMIT:
        piece = await _read(content, offset, content.size)
        pieces.append(piece)
        if _END in tail + piece or (offset == 0 and _ends_at_once(piece)):
            break
        offset += len(piece)
        tail = piece[-3:]
    return b"".join(pieces)


#: RFC 5322 section 2.2.3: a line that begins with white space goes on with the field.
_FIELD_END: Final = re.compile(rb"\r\n(?![ \t])")


def _fields(header: bytes) -> Iterator[HeaderField]:
    """Cut a header where a field ends; what is no field becomes one without a name."""
    start = 0
    for found in _FIELD_END.finditer(header):
        end = found.end()
        raw = header[start:end]
        yield HeaderField(_name(raw), raw, start)
        start = end
    if start < len(header):
        raw = header[start:]
        yield HeaderField(_name(raw), raw, start)


def _name(raw: bytes) -> str:
    colon = raw.find(b":")
    if colon < 0 or raw[0] in _WHITE:
        return ""
    return raw[:colon].rstrip(_WHITE).lower().decode("latin-1")


_WHITE: Final = b" \t"
