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
from edgerelay.spool.content import PIECE, SLOW_FOR, ContentStore, SpoolContent
from edgerelay.spool.disk import ContentFile, MemoryDisk
from edgerelay.testing.cancel import cancel_at_every_checkpoint
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


async def test_content_in_small_pieces_is_not_many_objects() -> None:
    content = ContentStore(MemoryDisk(), inline, 1).new()
    for _ in range(10_000):
        content.feed(b"ab")
    assert len(content._chunks) < 300
    assert content.whole() == b"ab" * 10_000


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


# --- reading and cutting -----------------------------------------------------------------------


FORGED = b"X: \xc3\xa9\r\n"
REST = bytes(range(128)) * (PIECE // 64)  # two pieces
RANGES = [(100, len(FORGED))]


async def with_a_field_to_cut(store: ContentStore) -> SpoolContent:
    content = store.new()
    if content.feed(REST[:100] + FORGED + REST[100:]):
        await content.flush()
    return content


async def test_what_is_cut_out_of_a_file_leaves_a_new_file_alone() -> None:
    disk = MemoryDisk()
    store = ContentStore(disk, inline, 1)
    content = await with_a_field_to_cut(store)
    content.feed(b"tail")  # not in the file yet
    await content.cut(RANGES)
    assert disk.files == {"1-2": REST + b"tail"}
    assert (content.size, content.is_7bit) == (len(REST) + 4, True)
    assert store.live == {"1-2"}
    content.seal()
    assert not content.needs_seal
    content.discard()
    assert (disk.files, store.live, store.in_flight) == ({}, set(), 0)


async def test_what_is_left_stays_eight_bit_if_it_is() -> None:
    content = ContentStore(MemoryDisk(), inline, 1).new()
    content.feed(FORGED + FORGED)
    await content.cut([(0, len(FORGED))])
    assert (content.whole(), content.is_7bit) == (FORGED, False)
    content.feed(b"")
    content = await with_a_field_to_cut(ContentStore(MemoryDisk(), inline, 1))
    await content.cut([(0, 50)])
    assert not content.is_7bit


async def test_a_file_of_which_little_is_left_is_taken_into_memory() -> None:
    disk = MemoryDisk()
    store = ContentStore(disk, inline, 1)
    content = await with_a_field_to_cut(store)
    await content.cut([(100, content.size - PIECE)])
    assert (content.in_memory, content.needs_seal) == (True, False)
    assert content.whole() == REST[:100] + REST[100 - PIECE :]
    assert (disk.files, store.live, content.name) == ({}, set(), None)
    assert content.take() == REST[:100] + REST[100 - PIECE :]


@pytest.mark.parametrize(
    ("errno", "error"), [(ENOSPC, SpoolFull), (EDQUOT, SpoolFull), (EIO, SpoolUnavailable)]
)
@pytest.mark.parametrize("operation", ["create", "write", "read"])
async def test_a_cut_that_fails_leaves_nothing(
    errno: int, error: type[Exception], operation: str
) -> None:
    disk = FaultyDisk(MemoryDisk(), errno)
    store = ContentStore(disk, inline, 1)
    content = await with_a_field_to_cut(store)
    disk.failing.add(operation)
    with pytest.raises(error):
        await content.cut(RANGES)
    disk.failing.clear()
    for after in (content.flush, lambda: content.read(0, 1), lambda: content.cut(RANGES)):
        with pytest.raises(error):
            await after()
    assert content.whole() is None
    with pytest.raises(error):
        content.seal()
    content.discard()
    assert (list(disk.names()), store.live, store.in_flight) == ([], set(), 0)


async def test_a_file_shorter_than_it_was_is_no_content() -> None:
    disk = MemoryDisk()
    content = await with_a_field_to_cut(ContentStore(disk, inline, 1))
    del disk.files["1-1"][PIECE:]
    with pytest.raises(SpoolUnavailable, match="not as long"):
        await content.cut(RANGES)
    content.discard()
    assert disk.files == {}


async def test_a_file_that_cannot_be_unlinked_is_left_to_the_next_start() -> None:
    disk = FaultyDisk(MemoryDisk())
    store = ContentStore(disk, inline, 1)
    content = await with_a_field_to_cut(store)
    disk.failing.add("unlink")
    await content.cut(RANGES)
    assert content.size == len(REST)
    assert store.live == {"1-2"}
    content.discard()
    assert (sorted(disk.names()), store.live, store.in_flight) == (["1-1", "1-2"], set(), 0)


async def test_a_cut_cancelled_anywhere_leaves_nothing(mock_clock: MockClock) -> None:
    """On a disk that is slow, so that each piece is a wait in a thread as well."""

    async def in_a_thread(function: Callable[[], T], /) -> T:
        await trio.lowlevel.checkpoint()
        return function()

    async def cut() -> None:
        disk = SlowDisk(mock_clock)
        store = ContentStore(disk, in_a_thread, 1)
        content = store.new()
        try:
            content.feed(REST[:100] + FORGED + REST[100:])
            await content.cut(RANGES)
            assert disk.files == {"1-2": REST}
        except trio.Cancelled:
            with pytest.raises(SpoolUnavailable, match="interrupted"):
                content.seal()
            raise
        finally:
            content.discard()
            assert (disk.files, store.live, store.in_flight) == ({}, set(), 0)

    assert await cancel_at_every_checkpoint(cut) > 5


async def test_readers_of_a_file_do_not_disturb_each_other(autojump_clock: MockClock) -> None:
    async def in_a_thread(function: Callable[[], T], /) -> T:
        await trio.sleep(1)
        return function()

    store = ContentStore(SlowDisk(autojump_clock), in_a_thread, 1)
    content = await with_a_field_to_cut(store)
    await content.read(0, 1)
    with trio.move_on_after(0.5):
        await content.read(0, 100)
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(content.read, 0, 100)
    assert await content.read(0, 100) == REST[:100]
    content.discard()
    with pytest.raises(SpoolUnavailable, match="handed over"):
        await content.read(0, 100)
