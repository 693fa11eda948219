"""Who waits shares a sync; who comes alone does not wait for company."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import pytest
import trio
from trio.testing import MockClock

from edgerelay.observe.events import Event, Trouble
from edgerelay.spool import SqliteSpool, open_memory_spool, open_spool
from edgerelay.spool.api import (
    Filter,
    Finish,
    PendingDelivery,
    Release,
    Reschedule,
    SpoolUnavailable,
    Status,
)
from edgerelay.spool.committer import BATCH_WORKS, Linger
from edgerelay.testing.check_spool import ARRIVED, due, new_message, queued
from edgerelay.testing.faulty_disk import DatabaseFaults

T = TypeVar("T")


class Disk:
    """Counts transactions, and lets each take ``seconds``."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.faults = DatabaseFaults()

    async def __call__(self, function: Callable[[], T], /) -> T:
        with trio.CancelScope(shield=True):
            await trio.sleep(self.seconds)
        return function()

    def transactions(self) -> int:
        count = self.faults.executed.count("COMMIT")
        self.faults.executed.clear()
        return count

    def spool(self, path: Path, linger: Linger | None = None) -> open_spool:
        return open_spool(
            path,
            run_blocking=self,
            clock=lambda: ARRIVED,
            observer=lambda _: None,
            connect=self.faults.connect,
            linger=linger,
        )


async def commit_many(spool: SqliteSpool, count: int) -> None:
    messages = [await new_message(spool) for _ in range(count)]
    async with trio.open_nursery() as nursery:
        for message in messages:
            nursery.start_soon(spool.commit, message)


async def test_those_who_wait_share_a_transaction(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    disk = Disk()
    async with disk.spool(tmp_path) as spool:
        disk.transactions()
        await commit_many(spool, 50)
        assert disk.transactions() == 1
        await commit_many(spool, BATCH_WORKS + 1)
        assert disk.transactions() == 2, "a transaction is bounded"


async def test_a_transaction_is_bounded_in_octets(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    disk = Disk()
    async with disk.spool(tmp_path) as spool:
        messages = [await new_message(spool, content=b"x" * 262_144) for _ in range(65)]
        disk.transactions()
        async with trio.open_nursery() as nursery:
            for message in messages:
                nursery.start_soon(spool.commit, message)
        assert disk.transactions() == 3  # of 8 MiB: an eighth of the ballast


async def test_who_comes_alone_waits_for_nobody(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with Disk().spool(tmp_path) as spool:
        message = await new_message(spool)
        started = trio.current_time()
        await spool.commit(message)
        assert trio.current_time() == started
        other = await new_message(spool)  # one more that is on its way
        message = await new_message(spool)
        await spool.commit(message)
        assert trio.current_time() == pytest.approx(started + Linger().waited_for)
        other.content.discard()


async def test_on_a_slow_disk_nobody_lingers(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with Disk(seconds=0.01).spool(tmp_path) as spool:
        await spool.commit(await new_message(spool))
        other = await new_message(spool)
        message = await new_message(spool)
        started = trio.current_time()
        await spool.commit(message)
        assert trio.current_time() == pytest.approx(started + 0.01)
        other.content.discard()


async def test_outcomes_wait_for_company_but_not_for_ever(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    disk = Disk()
    async with disk.spool(tmp_path) as spool:
        await commit_many(spool, 3)
        first, second, third = await due(spool)
        message = await new_message(spool)
        disk.transactions()
        spool.settle_soon(Finish(first.key))
        await trio.sleep(0.002)
        spool.settle_soon(Finish(second.key))
        started = trio.current_time()
        await spool.commit(message)
        assert disk.transactions() == 1, "they rode along"
        assert trio.current_time() == started, "and nobody waited for them"
        spool.settle_soon(Finish(third.key))
        await trio.sleep(2 * Linger().unwatched)
        assert disk.transactions() == 1, "nobody came, they went alone"


async def test_works_come_while_others_are_written(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    disk = Disk(seconds=0.05)
    async with disk.spool(tmp_path) as spool:
        disk.transactions()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(commit_many, spool, 1)
            await trio.sleep(0.01)
            nursery.start_soon(commit_many, spool, 7)
        assert disk.transactions() == 2
        (first, *_) = await due(spool)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(commit_many, spool, 1)
            await trio.sleep(0.01)
            spool.settle_soon(Finish(first.key))
            assert first.key not in [each.key for each in await due(spool)]


async def test_changes_of_one_delivery_happen_in_their_order(autojump_clock: MockClock) -> None:
    async with open_memory_spool(clock=lambda: ARRIVED) as spool:
        await commit_many(spool, 2)
        first, second = await due(spool)
        spool.settle_soon(
            Finish(first.key),
            Finish(second.key),
            Release(first.key, ARRIVED),
            Finish(first.key),
            Reschedule(second.key, second.recipients, ARRIVED, 1),
        )
        assert await spool.find(Filter(), 10) == []
        gauges = await spool.gauges()
        assert (gauges.messages, gauges.queued, gauges.held, gauges.octets) == (0, 0, 0, 0)


async def test_one_bad_outcome_spoils_no_other(autojump_clock: MockClock) -> None:
    events: list[Event] = []
    async with open_memory_spool(clock=lambda: ARRIVED, observer=events.append) as spool:
        await commit_many(spool, 3)
        first, second, third = await due(spool)
        spool.settle_soon(Finish(first.key))
        spool.settle_soon(Reschedule(second.key, second.recipients, ARRIVED, 1 << 70))
        spool.settle_soon(Reschedule(third.key, third.recipients, ARRIVED, 5))
        found = await spool.find(Filter(), 10)
        await spool.lanes()
        found = await spool.find(Filter(), 10)
        assert [(each.key, each.status, each.attempts) for each in found] == [
            (second.key, Status.HELD, 0),
            (third.key, Status.QUEUED, 5),
        ]
        with pytest.raises(SpoolUnavailable):
            await spool.settle(Reschedule(third.key, third.recipients, ARRIVED, 1 << 70))
        with pytest.raises(SpoolUnavailable):
            await spool.lane_pause("a", ARRIVED, 1 << 70)
    assert [type(event) for event in events] == [Trouble]


async def test_a_callback_that_raises_keeps_nobody_waiting(autojump_clock: MockClock) -> None:
    def on_committed(_: object) -> None:
        raise ZeroDivisionError

    committed = False
    with pytest.RaisesGroup(ZeroDivisionError, flatten_subgroups=True, allow_unwrapped=True):
        async with open_memory_spool(clock=lambda: ARRIVED) as spool:
            spool.on_committed = on_committed
            message = await new_message(spool, queued())
            with trio.CancelScope(shield=True):
                await spool.commit(message)
            committed = True
    assert committed


async def test_deliveries_of_a_batch_are_offered_together(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    offers: list[int] = []

    def on_committed(deliveries: Sequence[PendingDelivery]) -> None:
        offers.append(len(deliveries))

    async with Disk().spool(tmp_path) as spool:
        spool.on_committed = on_committed
        await commit_many(spool, 9)
    assert offers == [9]
