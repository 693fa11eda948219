"""Content stays in memory up to 256 KiB, then goes into a file, whatever the disk does."""

from __future__ import annotations

from collections.abc import Callable
from errno import EDQUOT, EIO, ENOSPC
from typing import TypeVar

import pytest
import trio
from trio.testing import MockClock

from edgerelay.runtime import inline
from edgerelay.spool.api import SpoolFull, SpoolUnavailable
from edgerelay.spool.content import PIECE, SLOW_FOR, ContentStore
from edgerelay.spool.disk import ContentFile, MemoryDisk
from edgerelay.testing.faulty_disk import FaultyDisk

T = TypeVar("T")


class Thread:
    """Counts what would have gone to a thread."""

    def __init__(self) -> None:
        self.calls = 0

    async def __call__(self, function: Callable[[], T], /) -> T:
        self.calls += 1
        return function()


async def test_256_kib_stay_in_memory_and_an_octet_more_does_not() -> None:
    disk = MemoryDisk()
    content = ContentStore(disk, inline, 1).new()
    assert content.feed(b"x" * PIECE) is False
    await content.flush()
    assert disk.files == {}
    assert content.in_memory
    assert content.feed(b"y") is True
    await content.flush()
    assert [len(data) for data in disk.files.values()] == [PIECE + 1]
    assert content.feed(b"z") is False
    content.seal()
    assert not content.needs_seal
    assert disk.files["1-1"] == b"x" * PIECE + b"yz"


async def test_what_was_never_flushed_is_written_when_sealed() -> None:
    disk = MemoryDisk()
    content = ContentStore(disk, inline, 1).new()
    content.feed(b"x" * (PIECE + 1))
    assert content.needs_seal
    content.seal()
    assert len(disk.files["1-1"]) == PIECE + 1


async def test_it_knows_whether_it_is_seven_bit() -> None:
    content = ContentStore(MemoryDisk(), inline, 1).new()
    content.feed(b"abc")
    assert content.is_7bit
    content.feed(b"\xc3\xa9")
    content.feed(b"abc")
    assert not content.is_7bit


async def test_discard_leaves_nothing_and_may_come_twice() -> None:
    disk = MemoryDisk()
    store = ContentStore(disk, inline, 1)
    content = store.new()
    content.feed(b"x" * (PIECE + 1))
    await content.flush()
    assert store.live == {"1-1"}
    content.discard()
    content.discard()
    assert (disk.files, store.live, store.in_flight) == ({}, set(), 0)


async def test_what_was_committed_is_not_unlinked() -> None:
    disk = MemoryDisk()
    store = ContentStore(disk, inline, 1)
    content = store.new()
    content.feed(b"x" * (PIECE + 1))
    content.seal()
    content.let_go()
    content.discard()
    assert list(disk.files) == ["1-1"]
    assert store.in_flight == 0


@pytest.mark.parametrize(
    ("errno", "error"), [(ENOSPC, SpoolFull), (EDQUOT, SpoolFull), (EIO, SpoolUnavailable)]
)
@pytest.mark.parametrize("operation", ["create", "write"])
async def test_a_failed_write_is_remembered(
    errno: int, error: type[Exception], operation: str
) -> None:
    disk = FaultyDisk(MemoryDisk(), errno)
    disk.failing.add(operation)
    content = ContentStore(disk, inline, 1).new()
    assert content.feed(b"x" * (PIECE + 1))
    with pytest.raises(error):
        await content.flush()
    disk.failing.clear()
    assert content.feed(b"more") is True
    with pytest.raises(error):
        await content.flush()
    with pytest.raises(error):
        content.seal()
    content.discard()
    assert list(disk.names()) == []


@pytest.mark.parametrize("operation", ["create", "write", "sync", "sync_directory"])
async def test_a_failed_sync_is_no_sync(operation: str) -> None:
    disk = FaultyDisk(MemoryDisk())
    disk.failing.add(operation)
    content = ContentStore(disk, inline, 1).new()
    content.feed(b"x" * (PIECE + 1))
    with pytest.raises(SpoolUnavailable):
        content.seal()
    assert content.needs_seal
    content.discard()
    assert list(disk.names()) == []


async def test_a_cancelled_write_leaves_nothing_to_commit(mock_clock: MockClock) -> None:
    store = ContentStore(SlowDisk(mock_clock), inline, 1)
    content = store.new()
    content.feed(b"x" * (PIECE + 1))
    await content.flush()  # slow: the next one goes through the seam, where it can be cancelled
    content.feed(b"x" * (PIECE + 1))
    with trio.CancelScope() as scope:
        scope.cancel()
        await content.flush()
    with pytest.raises(SpoolUnavailable, match="interrupted"):
        content.seal()
    content.discard()


class SlowFile:
    def __init__(self, file: ContentFile, clock: MockClock) -> None:
        self.write_quickly = file.write
        self.sync = file.sync
        self.close = file.close
        self.clock = clock

    def write(self, data: memoryview) -> None:
        self.write_quickly(data)
        self.clock.jump(0.021)


class SlowDisk(MemoryDisk):
    def __init__(self, clock: MockClock) -> None:
        super().__init__()
        self.clock = clock

    def create(self, name: str) -> ContentFile:
        return SlowFile(super().create(name), self.clock)

    def read(self, name: str, offset: int, length: int) -> bytes:
        self.clock.jump(0.021)
        return super().read(name, offset, length)


async def test_a_slow_disk_is_written_and_read_in_a_thread_for_ten_seconds(
    mock_clock: MockClock,
) -> None:
    thread = Thread()
    store = ContentStore(SlowDisk(mock_clock), thread, 1)
    content = store.new()
    content.feed(b"x" * (2 * PIECE + 1))
    await content.flush()
    assert thread.calls == 2, "all but the first piece"
    assert await store.read("1-1", 0, 3) == b"xxx"
    assert thread.calls == 3
    mock_clock.jump(SLOW_FOR + 1)
    assert await store.read("1-1", 0, 3) == b"xxx"
    assert thread.calls == 3, "tried inline again"
    assert await store.read("1-1", 0, 3) == b"xxx"
    assert thread.calls == 4, "and found slow"
    content.discard()
