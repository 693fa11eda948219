"""The message as policies read it, over content that lies in memory or in a file."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Final, Protocol

from edgerelay.policy import HeaderField

#: Octets of a header section; a longer one is refused, since it must be read as a whole.
HEADER_LIMIT: Final = 4 * 1024 * 1024
PIECE: Final = 256 * 1024  #: octets read at once

_END: Final = b"\r\n\r\n"


class HeaderTooLarge(Exception):
    """The header section is over `HEADER_LIMIT`."""


class ReadableContent(Protocol):
    """What the spool keeps of a message that is not committed yet."""

    @property
    def size(self) -> int: ...

    def whole(self) -> bytes | None:
        """All of it, if it is in memory."""

    async def read(self, offset: int, length: int) -> bytes: ...


class ReadMessage:
    """Implements `edgerelay.policy.Message`; made by `read_message`."""

    __slots__ = ("_body", "_content", "_fields", "_header", "_start")

    def __init__(self, content: ReadableContent, header: bytes, start: int) -> None:
        """``header`` is the section with the CRLF of its last field; the body begins at
        ``start``."""
        self._content = content
        self._header = header
        self._start = start
        self._fields: tuple[HeaderField, ...] | None = None
        self._body: bytes | None = None

    @property
    def size(self) -> int:
        return self._content.size

    @property
    def fields(self) -> Sequence[HeaderField]:
        if self._fields is None:
            self._fields = tuple(_fields(self._header))
        return self._fields

    def named(self, name: str) -> Sequence[HeaderField]:
        wanted = name.lower()
        return [field for field in self.fields if field.name == wanted]

    @property
    def body(self) -> bytes | None:
        if self._body is None and (whole := self._content.whole()) is not None:
            self._body = whole[self._start :]
        return self._body

    async def chunks(self) -> AsyncIterator[bytes]:
        if (body := self.body) is not None:
            for start in range(0, len(body), PIECE):
                yield body[start : start + PIECE]
            return
        offset, size = self._start, self._content.size
        while offset < size:
            piece = await self._content.read(offset, min(PIECE, size - offset))
            offset += len(piece)
            yield piece


async def read_message(content: ReadableContent) -> ReadMessage:
    """Find the header section of a content. Raises `HeaderTooLarge`, `SpoolError`.

    A header ends at the first empty line (RFC 5322 section 2.1); content without one is all
    header, as a relay before us would read it.
    """
    data = content.whole()
    if data is None:
        data = await _beginning(content)
    if data.startswith(b"\r\n"):
        return ReadMessage(content, b"", 2)
    end = data.find(_END)
    if end < 0:
        end = len(data)
        if end > HEADER_LIMIT:
            raise HeaderTooLarge
        return ReadMessage(content, data, end)
    if end > HEADER_LIMIT:
        raise HeaderTooLarge
    return ReadMessage(content, data[: end + 2], end + 4)


async def _beginning(content: ReadableContent) -> bytes:
    """As much as holds the end of the header, or shows that it is too far away."""
    pieces: list[bytes] = []
    offset = 0
    tail = b""
    while offset < content.size and offset <= HEADER_LIMIT:
        piece = await content.read(offset, min(PIECE, content.size - offset))
        pieces.append(piece)
        offset += len(piece)
        if _END in tail + piece:
            break
        tail = piece[-3:]
    return b"".join(pieces)


def _fields(header: bytes) -> Iterator[HeaderField]:
    """Cut a header at each CRLF that no space or tab follows."""
    start = position = 0
    while position < len(header):
        end = header.find(b"\r\n", position)
        position = len(header) if end < 0 else end + 2
        if header[position : position + 1] in _FOLDS:
            continue
        raw = header[start:position]
        yield HeaderField(_name(raw), raw, start)
        start = position


_FOLDS: Final = (b" ", b"\t")


def _name(raw: bytes) -> str:
    name, colon, _ = raw.partition(b":")
    if not colon or raw[:1] in _FOLDS:
        return ""
    return name.rstrip(b" \t").lower().decode("latin-1")
