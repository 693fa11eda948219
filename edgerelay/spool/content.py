"""Content streams into memory up to 256 KiB, then into a file of the spool's own directory.

Written inline, into the page cache, while the disk is quick; through a thread for a while
after it was slow. A file is on the disk, name and all, before a row may name it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from errno import EDQUOT, ENOSPC
from functools import partial
from itertools import count
from typing import Final

import trio

from edgerelay.runtime import RunBlocking
from edgerelay.spool.api import SpoolError, SpoolFull, SpoolUnavailable
from edgerelay.spool.disk import ContentFile, Disk

PIECE: Final = 256 * 1024  #: octets kept in memory, and read or written at once
SLOW: Final = 0.020  #: seconds; a piece takes 0.1 ms when the page cache takes it
SLOW_FOR: Final = 10.0  #: seconds during which a slow disk is not trusted inline


def spool_error(error: OSError) -> SpoolError:
    """What a failed call on a file means to the session."""
    if error.errno in (ENOSPC, EDQUOT):
        return SpoolFull(f"no room for content: {error.strerror}")
    return SpoolUnavailable(f"content file: {error.strerror or error}")


class ContentStore:
    """Makes contents, and knows those that are neither committed nor discarded."""

    def __init__(self, disk: Disk, run_blocking: RunBlocking, epoch: int) -> None:
        self.disk = disk
        self.in_flight = 0
        self.live: set[str] = set()  #: files of contents in flight
        self._run_blocking = run_blocking
        self._names = (f"{epoch:x}-{number:x}" for number in count(1))
        self._slow_until = float("-inf")

    def new(self) -> SpoolContent:
        self.in_flight += 1
        return SpoolContent(self)

    def create(self) -> tuple[str, ContentFile]:
        name = next(self._names)
        file = self.disk.create(name)
        self.live.add(name)
        return name, file

    def forget(self, name: str) -> None:
        """Unlink a file that no content has any more."""
        self.live.discard(name)
        with suppress(OSError):  # the next start sweeps it
            self.disk.unlink(name)

    async def write(self, file: ContentFile, data: bytes) -> None:
        for piece in pieces(data):
            if trio.current_time() < self._slow_until:
                await self._run_blocking(partial(file.write, piece))
            else:
                started = trio.current_time()
                file.write(piece)
                self._note(started)

    async def read(self, name: str, offset: int, length: int) -> bytes:
        if trio.current_time() < self._slow_until:
            return await self._run_blocking(partial(self.disk.read, name, offset, length))
        started = trio.current_time()
        data = self.disk.read(name, offset, length)
        self._note(started)
        return data

    def _note(self, started: float) -> None:
        now = trio.current_time()
        if now - started > SLOW:
            self._slow_until = now + SLOW_FOR


def _kept(ranges: Sequence[tuple[int, int]], size: int) -> Iterator[tuple[int, int]]:
    """(start, end) of what lies between the ranges, and before and after them."""
    start = 0
    for offset, length in ranges:
        if offset > start:
            yield start, offset
        start = offset + length
    if start < size:
        yield start, size


def _steps(kept: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """(offset, length) of what to read at once."""
    for start, end in kept:
        for offset in range(start, end, PIECE):
            yield offset, min(PIECE, end - offset)


#: Pieces in memory before they are made one: a client may send two octets at a time, and each
#: would cost twenty times as much as it is counted for.
MANY: Final = 256


def pieces(data: bytes) -> Iterator[memoryview]:
    view = memoryview(data)
    for start in range(0, len(view), PIECE):
        yield view[start : start + PIECE]


class SpoolContent:
    """One message's content; see `edgerelay.spool.api.Content`."""

    __slots__ = (
        "_buffered",
        "_chunks",
        "_failure",
        "_file",
        "_open",
        "_sealed",
        "_store",
        "is_7bit",
        "name",
        "size",
    )

    def __init__(self, store: ContentStore) -> None:
        self.size = 0
        self.is_7bit = True
        self.name: str | None = None  #: of the file
        self._store = store
        self._chunks: list[bytes] = []
        self._buffered = 0
        self._file: ContentFile | None = None
        self._failure: SpoolError | None = None
        self._open = True
        self._sealed = False

    def feed(self, chunk: bytes) -> bool:
        self.size += len(chunk)
        if self.is_7bit and not chunk.isascii():
            self.is_7bit = False
        if self._failure is not None:
            return True  # the flush will say why
        self._chunks.append(chunk)
        if len(self._chunks) >= MANY:
            self._chunks = [b"".join(self._chunks)]
        self._buffered += len(chunk)
        return self._buffered > PIECE

    @property
    def in_memory(self) -> bool:
        return self.size <= PIECE

    @property
    def is_open(self) -> bool:
        """Neither committed nor discarded."""
        return self._open

    @property
    def needs_seal(self) -> bool:
        return self.size > PIECE and not self._sealed

    def take(self) -> bytes:
        """The octets that are not in the file: all of them while there is none."""
        data = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks = []
        self._buffered = 0
        return data

    async def flush(self) -> None:
        if self._failure is not None:
            raise self._failure
        if self._buffered <= PIECE:
            return
        # Cancelled half-way the file has a hole: nothing but `discard` may follow.
        self._failure = SpoolUnavailable("a write of content was interrupted")
        try:
            await self._store.write(self._ready_file(), self.take())
        except OSError as error:
            self._failure = spool_error(error)
            raise self._failure from error
        self._failure = None

    def whole(self) -> bytes | None:
        if not self._is_readable or not self.in_memory:
            return None
        if len(self._chunks) > 1:
            self._chunks = [b"".join(self._chunks)]
        return self._chunks[0] if self._chunks else b""

    async def read(self, offset: int, length: int) -> bytes:
        if (whole := self.whole()) is not None:
            return whole[offset : offset + length]
        if not self._is_readable:
            raise self._failure or SpoolUnavailable("the content has been handed over")
        try:
            await self._write_out()
            if self.name is None:
                raise SpoolUnavailable("the content has no file")
            data = await self._store.read(self.name, offset, length)
            if len(data) < min(length, self.size - offset):
                raise SpoolUnavailable("the content file is not as long as it was")
            return data
        except OSError as error:
            raise spool_error(error) from error

    @property
    def _is_readable(self) -> bool:
        return self._open and self._failure is None

    async def cut(self, ranges: Sequence[tuple[int, int]]) -> None:
        if not ranges:
            return
        kept = list(_kept(ranges, self.size))
        if (whole := self.whole()) is not None:
            self._hold(b"".join([whole[start:end] for start, end in kept]))
            return
        await self._write_out()
        # From here on nothing but `discard` may follow a failure or a cancellation.
        self._failure = SpoolUnavailable("a copy of content was interrupted")
        try:
            self._close_file()
            if sum(end - start for start, end in kept) <= PIECE:
                await self._take_in(kept)
            else:
                await self._copy(kept)
        except OSError as error:
            self._failure = spool_error(error)
            raise self._failure from error
        self._failure = None

    async def _take_in(self, kept: Iterable[tuple[int, int]]) -> None:
        """What is small now lies in the database, as all that is small does."""
        data = b"".join([await self._piece(offset, length) for offset, length in _steps(kept)])
        if self.name is not None:
            self._store.forget(self.name)
        self.name = None
        self._hold(data)

    async def _copy(self, kept: Iterable[tuple[int, int]]) -> None:
        """Write what stays into a new file, and go on with that one."""
        size, is_7bit = 0, True
        name, file = self._store.create()
        try:
            for offset, length in _steps(kept):
                piece = await self._piece(offset, length)
                await self._store.write(file, piece)
                size += length
                is_7bit = is_7bit and piece.isascii()
        except BaseException:
            with suppress(OSError):
                file.close()
            self._store.forget(name)
            raise
        if self.name is not None:
            self._store.forget(self.name)
        self.name, self._file, self.size, self.is_7bit = name, file, size, is_7bit

    async def _piece(self, offset: int, length: int) -> bytes:
        if self.name is None:
            raise SpoolUnavailable("the content has no file")
        await trio.lowlevel.checkpoint()  # or the page cache would give all of it at once
        piece = await self._store.read(self.name, offset, length)
        if len(piece) != length:
            raise SpoolUnavailable("the content file is not as long as it was")
        return piece

    def _hold(self, data: bytes) -> None:
        """``data`` is all there is now."""
        self._chunks = [data]
        self._buffered = self.size = len(data)
        self.is_7bit = data.isascii()

    async def _write_out(self) -> None:
        """Let the file hold all of it, for who reads it."""
        if self._failure is not None:
            raise self._failure
        if self._buffered:
            self._failure = SpoolUnavailable("a write of content was interrupted")
            try:
                await self._store.write(self._ready_file(), self.take())
            except OSError as error:
                self._failure = spool_error(error)
                raise self._failure from error
            self._failure = None

    def seal(self) -> None:
        """Put the file on the disk, its name too. Blocks. Raises `SpoolError`."""
        if self._failure is not None:
            raise self._failure
        try:
            file = self._ready_file()
            for piece in pieces(self.take()):
                file.write(piece)
            file.sync()
            self._close_file()
            self._store.disk.sync_directory()
        except OSError as error:
            self._failure = spool_error(error)
            raise self._failure from error
        self._sealed = True

    def discard(self) -> None:
        if self._open:
            name = self.name
            self.let_go()
            if name is not None:
                self._store.forget(name)

    def let_go(self) -> None:
        """Leave the file to the row that names it, or to the next sweep. Idempotent."""
        if self._open:
            self._open = False
            self._store.in_flight -= 1
            self._chunks = []
            self._failure = None  # once raised it holds us, and the octets being written
            if self.name is not None:
                self._store.live.discard(self.name)
                with suppress(OSError):  # what counts has been synced and closed
                    self._close_file()

    def _ready_file(self) -> ContentFile:
        if self._file is None:
            self.name, self._file = self._store.create()
        return self._file

    def _close_file(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()
