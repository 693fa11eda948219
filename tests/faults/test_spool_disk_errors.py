"""The disk fails under the database: nothing false is said, and what was promised stays."""

from __future__ import annotations

import gc
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import pytest
import trio
from trio.testing import MockClock

from edgerelay.observe.events import Event, Trouble
from edgerelay.runtime import RunBlocking, inline
from edgerelay.spool import SqliteSpool, open_memory_spool, open_spool
from edgerelay.spool.api import (
    Filter,
    Finish,
    Hold,
    NewMessage,
    PendingDelivery,
    Reschedule,
    SpoolFull,
    SpoolUnavailable,
    Status,
)
from edgerelay.spool.content import PIECE
from edgerelay.spool.disk import DirectoryDisk, MemoryDisk
from edgerelay.testing.check_spool import ARRIVED, LANE, due, new_message, queued, read
from edgerelay.testing.faulty_disk import DatabaseFaults, FaultyDisk

T = TypeVar("T")

BIG = b"x" * (PIECE + 10)
IOERR = sqlite3.SQLITE_IOERR


class World:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.faults = DatabaseFaults()
        self.events: list[Event] = []

    @asynccontextmanager
    async def spool(self, run_blocking: RunBlocking = inline) -> AsyncIterator[SqliteSpool]:
        async with open_spool(
            self.path,
            run_blocking=run_blocking,
            clock=lambda: ARRIVED,
            observer=self.events.append,
            connect=self.faults.connect,
        ) as spool:
            yield spool

    @property
    def troubles(self) -> list[str]:
        return [event.what for event in self.events if isinstance(event, Trouble)]

    @property
    def contents(self) -> int:
        return len(list((self.path / "content").iterdir()))


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def refused(spool: SqliteSpool, message: NewMessage) -> None:
    with pytest.raises(SpoolUnavailable):
        await spool.commit(message)


@pytest.mark.parametrize("content", [b"small", BIG], ids=["small", "large"])
@pytest.mark.parametrize("after", [False, True], ids=["not written", "written nevertheless"])
async def test_a_message_refused_for_a_disk_error_is_not_kept(
    autojump_clock: MockClock, world: World, content: bytes, after: bool
) -> None:
    async with world.spool() as spool:
        await spool.commit(await new_message(spool, queued("before"), content=content))
        world.faults.fail("COMMIT", IOERR, after=after)
        await refused(spool, await new_message(spool, content=content))
        assert list(await spool.lanes()) == ["before"]
        (kept,) = await due(spool, "before")
        assert await read(spool, kept.message) == content
        gauges = await spool.gauges()
        assert (gauges.messages, gauges.in_flight) == (1, 0)
        assert world.contents == (content is BIG)
        await spool.commit(await new_message(spool, queued("after")))
        assert spool.accepts_mail
    assert world.troubles == ["disk error"]


async def test_everyone_in_the_batch_is_refused(autojump_clock: MockClock, world: World) -> None:
    outcomes: list[bool] = []

    async def commit(spool: SqliteSpool, message: NewMessage) -> None:
        try:
            await spool.commit(message)
        except SpoolUnavailable:
            outcomes.append(False)
        else:
            outcomes.append(True)

    async with world.spool() as spool:
        world.faults.fail("INSERT OR FAIL INTO delivery", IOERR)
        messages = [await new_message(spool) for _ in range(5)]
        async with trio.open_nursery() as nursery:
            for message in messages:
                nursery.start_soon(commit, spool, message)
        assert outcomes == [False] * 5
        assert (await spool.gauges()).messages == 0


@pytest.mark.parametrize("statement", ["COMMIT", "BEGIN", "INSERT OR FAIL INTO delivery"])
async def test_messages_refused_together_are_not_kept_in_memory(
    autojump_clock: MockClock, world: World, statement: str
) -> None:
    """Nor by the error that they share, until the collector comes: it comes seldom."""
    mark = b"octets of a message that is refused"

    async def commit(spool: SqliteSpool) -> None:
        await refused(spool, messages.pop())

    gc.collect()
    gc.disable()
    try:
        async with world.spool() as spool:
            world.faults.fail(statement, IOERR)
            messages = [await new_message(spool, content=mark * 100) for _ in range(3)]
            async with trio.open_nursery() as nursery:
                for _ in range(3):
                    nursery.start_soon(commit, spool)
            held = (each for every in gc.get_objects() for each in gc.get_referents(every))
            assert not [each for each in held if isinstance(each, bytes) and mark * 9 in each]
    finally:
        gc.enable()


async def test_a_second_error_within_a_minute_ends_the_taking_of_mail(
    autojump_clock: MockClock, world: World
) -> None:
    async with world.spool() as spool:
        await spool.commit(await new_message(spool))
        (delivery,) = await due(spool)
        world.faults.fail("COMMIT", IOERR)
        await refused(spool, await new_message(spool))
        await trio.sleep(61)
        world.faults.fail("COMMIT", IOERR)
        await refused(spool, await new_message(spool))
        accepts = [spool.accepts_mail]
        await trio.sleep(59)
        world.faults.fail("COMMIT", IOERR)
        await refused(spool, await new_message(spool))
        accepts.append(spool.accepts_mail)
        assert accepts == [True, False]
        await spool.settle(Finish(delivery.key))
        assert await due(spool) == [], "deliveries go on"
    assert world.troubles == ["disk error", "disk error", "no new mail is taken"]


async def test_outcomes_wait_for_a_disk_that_comes_back(
    autojump_clock: MockClock, world: World
) -> None:
    async with world.spool() as spool:
        for lane in ("a", "b", "c"):
            await spool.commit(await new_message(spool, queued(lane)))
        (a,), (b,), (c,) = [await due(spool, lane) for lane in ("a", "b", "c")]
        world.faults.fail("COMMIT", IOERR)
        world.faults.fail("BEGIN", IOERR)  # it cannot be opened again either
        spool.settle_soon(Finish(a.key))
        spool.settle_soon(Reschedule(b.key, b.recipients, ARRIVED, 1))
        spool.settle_soon(Hold(c.key, "x"))
        with pytest.raises(SpoolUnavailable):
            await spool.lanes()
        assert not spool.accepts_mail
        await refused(spool, await new_message(spool))
        with pytest.raises(SpoolUnavailable):
            await spool.settle(Finish(b.key))
        await trio.sleep(5)
        found = await spool.find(Filter(), 10)
        assert [(each.lane, each.status, each.attempts) for each in found] == [
            ("b", Status.QUEUED, 1),
            ("c", Status.HELD, 0),
        ]


async def test_errors_of_a_full_disk_do_not_end_the_taking_of_mail_for_good(
    autojump_clock: MockClock, world: World
) -> None:
    """SQLite says that it is full, or that its shared memory cannot grow, an I/O error."""
    disk = FaultyDisk(DirectoryDisk(world.path))
    async with open_spool(
        world.path,
        run_blocking=inline,
        clock=lambda: ARRIVED,
        observer=world.events.append,
        connect=world.faults.connect,
        disk=disk,
        min_free_space=1,
    ) as spool:
        disk.failing.add("free")
        await trio.sleep(2)
        for _ in range(3):
            world.faults.fail("COMMIT", IOERR)
            await refused(spool, await new_message(spool))
            await trio.sleep(2)
        disk.failing.clear()
        await trio.sleep(5)
        assert spool.accepts_mail
        await spool.commit(await new_message(spool))


@pytest.mark.parametrize("asks", [True, False], ids=["somebody asks", "nobody asks"])
async def test_a_database_that_could_not_be_opened_again_does_not_wait_for_new_mail(
    autojump_clock: MockClock, world: World, asks: bool
) -> None:
    """Mail is refused meanwhile, so none would ever come."""
    async with world.spool() as spool:
        await spool.commit(await new_message(spool, queued("a")))
        world.faults.fail("COMMIT", IOERR)
        world.faults.fail("BEGIN", IOERR, times=2)
        await refused(spool, await new_message(spool))
        if asks:
            with pytest.raises(SpoolUnavailable):
                await spool.lanes()
        await trio.sleep(5)
        assert spool.accepts_mail
        assert await spool.lanes() == ["a"]


async def test_what_is_told_late_is_left_out_of_answers(
    autojump_clock: MockClock, world: World
) -> None:
    async with world.spool() as spool:
        await spool.commit(await new_message(spool))
        await spool.commit(await new_message(spool))
        first, second = await due(spool)
        world.faults.fail("COMMIT", IOERR)
        spool.settle_soon(Finish(first.key))
        assert [each.key for each in await due(spool)] == [second.key]
        assert [each.key for each in await spool.find(Filter(), 9)] == [second.key]
        await trio.sleep(5)
        assert (await spool.gauges()).messages == 1


async def test_what_was_told_late_is_left_out_of_an_answer_that_was_read_before(
    autojump_clock: MockClock, world: World
) -> None:
    """The disk takes the outcome while a question is answered from what was there before."""
    takes_its_time = trio.Event()

    async def slowly(function: Callable[[], T], /) -> T:
        done = function()
        if isinstance(done, list) and done:  # an answer to `due`
            takes_its_time.set()
            await trio.sleep(5)
        return done

    async with world.spool(run_blocking=slowly) as spool:
        await spool.commit(await new_message(spool))
        (delivery,) = await due(spool)
        world.faults.fail("COMMIT", sqlite3.SQLITE_FULL, times=4)
        spool.settle_soon(Finish(delivery.key))
        with pytest.raises(SpoolFull):
            await spool.commit(await new_message(spool))
        takes_its_time = trio.Event()
        assert await due(spool) == []
        assert takes_its_time.is_set()
        assert (await spool.gauges()).messages == 0


async def test_what_is_left_out_of_an_answer_takes_nobodys_place(
    autojump_clock: MockClock, world: World
) -> None:
    """Fewer than were asked for are all there are: whoever asks relies on it."""
    async with world.spool() as spool:
        for _ in range(4):
            await spool.commit(await new_message(spool))
        first, second, third, fourth = await due(spool)
        world.faults.fail("COMMIT", IOERR)
        spool.settle_soon(Finish(first.key), Finish(third.key))
        found = await spool.due(LANE, ARRIVED + 1, 2)
        assert [each.key for each in found] == [second.key, fourth.key]


async def test_who_was_told_late_hears_when_it_is_durable(
    autojump_clock: MockClock, world: World
) -> None:
    async with world.spool() as spool:
        await spool.commit(await new_message(spool))
        (delivery,) = await due(spool)
        answers: list[Sequence[PendingDelivery]] = []
        asked = trio.Event()
        spool.on_caught_up = asked.set
        world.faults.fail("COMMIT", IOERR)
        spool.settle_soon(Reschedule(delivery.key, delivery.recipients, ARRIVED, 1))
        answers.append(await due(spool))
        assert not asked.is_set()
        with trio.fail_after(5):
            await asked.wait()
        answers.append(await due(spool))
        assert [[each.attempts for each in answer] for answer in answers] == [[], [1]]


@pytest.mark.parametrize("content", [b"small", BIG], ids=["small", "large"])
@pytest.mark.parametrize("after", [False, True], ids=["not written", "written nevertheless"])
async def test_a_report_is_written_once_whatever_became_of_its_transaction(
    autojump_clock: MockClock, world: World, content: bytes, after: bool
) -> None:
    async with world.spool() as spool:
        await spool.commit(await new_message(spool))
        (delivery,) = await due(spool)
        world.faults.fail("COMMIT", IOERR, after=after)
        report = await new_message(spool, queued("back"), content=content)
        spool.settle_soon(Finish(delivery.key), reports=[report])
        await trio.sleep(5)
        assert list(await spool.lanes()) == ["back"]
        (stored,) = await due(spool, "back")
        assert await read(spool, stored.message) == content
        gauges = await spool.gauges()
        assert (gauges.messages, gauges.in_flight) == (1, 0)
    assert world.troubles == ["disk error"]


async def test_a_settlement_that_was_refused_may_have_happened_but_loses_nothing(
    autojump_clock: MockClock,
    world: World,
) -> None:
    async with world.spool() as spool:
        await spool.commit(await new_message(spool))
        (delivery,) = await due(spool)
        world.faults.fail("COMMIT", IOERR, after=True)
        report = await new_message(spool, queued("back"), content=BIG)
        with pytest.raises(SpoolUnavailable):
            await spool.settle(Finish(delivery.key), reports=[report])
        (stored,) = await due(spool, "back")
        assert await read(spool, stored.message) == BIG


async def test_outcomes_are_tried_once_more_at_the_end(
    autojump_clock: MockClock, world: World
) -> None:
    async with world.spool() as spool:
        await spool.commit(await new_message(spool))
        (delivery,) = await due(spool)
        world.faults.fail("COMMIT", IOERR)
        spool.settle_soon(Finish(delivery.key))
        await spool.lanes()
    async with world.spool() as spool:
        assert await due(spool) == []


async def test_a_locked_database_is_waited_for(autojump_clock: MockClock, world: World) -> None:
    async with world.spool() as spool:
        await spool.commit(await new_message(spool))
        (delivery,) = await due(spool)
        world.faults.fail("BEGIN", sqlite3.SQLITE_BUSY, times=2)
        await refused(spool, await new_message(spool))
        spool.settle_soon(Finish(delivery.key))
        await trio.sleep(5)
        assert (await spool.gauges()).messages == 0
    assert world.troubles == []


async def test_a_read_that_fails_is_said_to_have_failed(
    autojump_clock: MockClock, world: World
) -> None:
    async with world.spool() as spool:
        world.faults.fail("SELECT min(due)", sqlite3.SQLITE_CORRUPT)
        with pytest.raises(SpoolUnavailable):
            await spool.next_due("a", ARRIVED)
        assert await spool.next_due("a", ARRIVED) is None


async def test_a_mistake_of_ours_is_a_disk_error_to_the_rest(
    autojump_clock: MockClock, world: World
) -> None:
    async with world.spool() as spool:
        await spool.commit(await new_message(spool))
        world.faults.fail("BEGIN", sqlite3.SQLITE_ERROR)
        await refused(spool, await new_message(spool))
        with pytest.raises(SpoolUnavailable):
            await spool.settle(Finish("seven"))  # type: ignore[arg-type]  # that is the mistake
        assert len(await due(spool)) == 1


async def test_a_database_in_memory_is_gone_when_it_fails(autojump_clock: MockClock) -> None:
    faults = DatabaseFaults()
    async with open_memory_spool(clock=lambda: ARRIVED, connect=faults.connect) as spool:
        faults.fail("COMMIT", IOERR)
        await refused(spool, await new_message(spool))
        await refused(spool, await new_message(spool))
        await trio.sleep(2)
        await refused(spool, await new_message(spool))
        assert not spool.accepts_mail


@pytest.mark.parametrize("statement", ["BEGIN", "PRAGMA user_version", "COMMIT"])
async def test_a_disk_that_fails_at_the_start_is_an_error_of_the_start(
    autojump_clock: MockClock, world: World, statement: str
) -> None:
    async with world.spool():
        pass
    world.faults.fail(statement, IOERR)
    with pytest.raises(SpoolUnavailable):
        async with world.spool():
            raise AssertionError("opened")
    async with world.spool():
        pass


async def test_an_end_that_fails_counts_as_unclean(
    autojump_clock: MockClock, world: World
) -> None:
    async with world.spool() as spool:
        await spool.commit(await new_message(spool))
        world.faults.fail("UPDATE state SET clean", IOERR)
    async with world.spool() as spool:
        assert (await due(spool))[0].on_probation
    assert world.troubles == ["the last end was not clean: recovered"]


async def test_chores_that_fail_are_left_undone(autojump_clock: MockClock, world: World) -> None:
    async with world.spool() as spool:
        for _ in range(70):
            await spool.commit(await new_message(spool, content=b"x" * 250_000))
        await spool.settle(*[Finish(each.key) for each in await due(spool)])
        world.faults.fail("PRAGMA incremental_vacuum", IOERR)
        await trio.sleep(60)
        assert world.faults.are_over
        await spool.commit(await new_message(spool))
    assert world.troubles == []


async def test_a_file_that_cannot_be_unlinked_keeps_no_shard_closed(
    autojump_clock: MockClock,
) -> None:
    """Nobody needs it any more; the mail beside it must not wait."""
    memory = MemoryDisk()
    disk = FaultyDisk(memory)
    memory.create("1-1").close()
    memory.sync_directory()
    disk.failing.add("unlink")
    async with open_memory_spool(clock=lambda: ARRIVED, disk=disk) as spool:
        await spool.commit(await new_message(spool))
        assert len(await due(spool)) == 1
    assert list(memory.names()) == ["1-1"]
