"""The spool as its callers see it, in memory and under virtual time."""

from __future__ import annotations

import sqlite3
from dataclasses import replace

import pytest
import trio
from trio.testing import MockClock

from edgerelay.observe.events import Event
from edgerelay.spool import open_memory_spool
from edgerelay.spool.api import (
    Filter,
    Finish,
    NewMessage,
    QueueId,
    Release,
    Reschedule,
    SpoolFull,
    SpoolUnavailable,
    Status,
    StoredMessage,
)
from edgerelay.spool.content import PIECE
from edgerelay.spool.disk import MemoryDisk
from edgerelay.spool.schema import connect
from edgerelay.testing.check_spool import ARRIVED, due, new_message, queued, read
from edgerelay.testing.faulty_disk import FaultyDisk

BIG = b"x" * (PIECE + 10)


class Now:
    def __init__(self) -> None:
        self.now = ARRIVED

    def __call__(self) -> float:
        return self.now


async def test_a_commit_takes_no_virtual_time_in_memory(autojump_clock: MockClock) -> None:
    async with open_memory_spool(clock=Now()) as spool:
        started = trio.current_time()
        await spool.commit(await new_message(spool))
        assert trio.current_time() == started


async def test_days_pass_at_once_beside_an_idle_spool(autojump_clock: MockClock) -> None:
    async with open_memory_spool(clock=Now()) as spool:
        await spool.commit(await new_message(spool))
        before = trio.lowlevel.current_statistics().tasks_living
        await trio.sleep(5 * 86_400)
        assert trio.lowlevel.current_statistics().tasks_living == before


async def test_content_of_another_spool_is_a_mistake_of_the_caller() -> None:
    class Strange:
        size = 0
        is_7bit = True

    async with open_memory_spool(clock=Now()) as spool:
        message = await new_message(spool)
        message.content.discard()
        strange = NewMessage(
            message.queue_id,
            message.envelope,
            message.client,
            ARRIVED,
            b"",
            Strange(),  # type: ignore[arg-type]  # that is the mistake
            message.deliveries,
        )
        with pytest.raises(TypeError):
            await spool.commit(strange)


async def test_a_message_nobody_gave_an_id_has_no_content() -> None:
    async with open_memory_spool(clock=Now()) as spool:
        await spool.commit(await new_message(spool))
        (delivery,) = await due(spool)
        good = delivery.message
        stranger = StoredMessage(
            QueueId("nobody's"),
            good.envelope,
            good.client,
            ARRIVED,
            b"",
            1,
            True,
        )
        assert spool.whole(stranger) is None
        with pytest.raises(SpoolUnavailable):
            await read(spool, stranger)
        with pytest.raises(SpoolUnavailable):
            await spool.head(stranger, 1)


async def test_a_body_that_is_gone_is_not_an_empty_one() -> None:
    async with open_memory_spool(clock=Now(), memory_budget=0) as spool:
        await spool.commit(await new_message(spool))
        (delivery,) = await due(spool)
        await spool.settle(Finish(delivery.key))
        with pytest.raises(SpoolUnavailable):
            await read(spool, delivery.message)
        with pytest.raises(SpoolUnavailable):
            await spool.head(delivery.message, 10)


async def test_a_content_file_that_was_cut_is_never_delivered_short() -> None:
    disk = MemoryDisk()
    async with open_memory_spool(clock=Now(), disk=disk) as spool:
        await spool.commit(await new_message(spool, content=BIG))
        (delivery,) = await due(spool)
        assert await spool.head(delivery.message, 3) == b"xxx"
        (name,) = disk.files
        del disk.files[name][PIECE + 5 :]
        with pytest.raises(SpoolUnavailable, match="not as long"):
            await read(spool, delivery.message)
        disk.files.clear()
        with pytest.raises(SpoolUnavailable):
            await read(spool, delivery.message)


async def test_a_body_that_was_cut_is_never_delivered_short() -> None:
    connections: list[sqlite3.Connection] = []

    def connect_and_tell(path: str) -> sqlite3.Connection:
        connections.append(connect(path))
        return connections[-1]

    async with open_memory_spool(clock=Now(), memory_budget=0, connect=connect_and_tell) as spool:
        await spool.commit(await new_message(spool, content=b"12345"))
        (delivery,) = await due(spool)
        connections[0].execute("UPDATE body SET content = x'31'")
        with pytest.raises(SpoolUnavailable, match="not as long"):
            await read(spool, delivery.message)


async def test_memory_is_bounded_and_the_rest_is_read_again() -> None:
    async with open_memory_spool(clock=Now(), memory_budget=2000) as spool:
        for _ in range(5):
            await spool.commit(await new_message(spool, content=b"x" * 600))
        deliveries = await due(spool)
        resident = [spool.whole(each.message) is not None for each in deliveries]
        assert resident == [False, False, False, False, True]
        for each in deliveries:
            assert await read(spool, each.message) == b"x" * 600


async def test_next_to_a_full_disk_no_mail_is_taken(autojump_clock: MockClock) -> None:
    disk = MemoryDisk(room=1000)
    async with open_memory_spool(clock=Now(), disk=disk, min_free_space=500) as spool:
        accepted = [spool.accepts_mail]
        disk.room = 400
        await trio.sleep(1)
        accepted.append(spool.accepts_mail)
        assert accepted == [True, False]
        gauges = await spool.gauges()
        assert (gauges.accepting, gauges.free) == (False, 400)


async def test_a_message_larger_than_the_disk_is_refused_as_a_whole() -> None:
    disk = MemoryDisk(room=PIECE)
    async with open_memory_spool(clock=Now(), disk=disk) as spool:
        content = spool.new_content()
        content.feed(BIG)
        with pytest.raises(SpoolFull):
            await content.flush()
        content.discard()
        assert disk.files == {}
        assert (await spool.gauges()).in_flight == 0


async def test_large_content_is_synced_before_its_row_is_written() -> None:
    disk = FaultyDisk(MemoryDisk())
    async with open_memory_spool(clock=Now(), disk=disk) as spool:
        disk.failing.add("sync_directory")
        with pytest.raises(SpoolUnavailable):
            await spool.commit(await new_message(spool, content=BIG))
        assert await due(spool) == []
        assert list(disk.names()) == []


async def test_a_large_report_is_synced_too() -> None:
    disk = FaultyDisk(MemoryDisk())
    events: list[Event] = []
    async with open_memory_spool(clock=Now(), disk=disk, observer=events.append) as spool:
        await spool.commit(await new_message(spool))
        (delivery,) = await due(spool)
        disk.failing.add("sync")
        report = await new_message(spool, queued("back"), content=BIG)
        spool.settle_soon(Finish(delivery.key), reports=[report])
        (held,) = await spool.find(Filter(), 10)
        assert (held.status, held.reason) == (Status.HELD, "its outcome could not be recorded")
        assert list(disk.names()) == []
        assert [type(event).__name__ for event in events] == ["Trouble"]


async def test_an_outcome_with_a_report_that_cannot_be_written_is_not_lost() -> None:
    async with open_memory_spool(clock=Now()) as spool:
        await spool.commit(await new_message(spool))
        (delivery,) = await due(spool)
        report = await new_message(spool, queued("\ud800"))
        spool.settle_soon(Finish(delivery.key), reports=[report])
        assert [each.status for each in await spool.find(Filter(), 10)] == [Status.HELD]
        nobody = await new_message(spool)
        nobody = NewMessage(
            nobody.queue_id, nobody.envelope, nobody.client, 0, b"", nobody.content, ()
        )
        spool.settle_soon(Finish(delivery.key), reports=[nobody])
        assert [each.status for each in await spool.find(Filter(), 10)] == [Status.HELD]
        assert (await spool.gauges()).in_flight == 0
        report = await new_message(spool, queued("\ud800"))
        spool.settle_soon(Release(delivery.key, ARRIVED), reports=[report])
        await spool.lanes()
        report = await new_message(spool, queued("\ud800"))
        with pytest.raises(SpoolUnavailable):
            await spool.settle(Finish(delivery.key), reports=[report])
        assert (await spool.gauges()).in_flight == 0


async def test_the_same_id_twice_is_refused_the_second_time() -> None:
    async with open_memory_spool(clock=Now()) as spool:
        message = await new_message(spool)
        await spool.commit(message)
        again = await new_message(spool)
        twin = NewMessage(
            message.queue_id,
            message.envelope,
            message.client,
            ARRIVED,
            b"",
            again.content,
            message.deliveries,
        )
        with pytest.raises(SpoolUnavailable, match="UNIQUE"):
            await spool.commit(twin)
        with pytest.raises(SpoolUnavailable, match="before"):
            await spool.commit(message)
        assert len(await due(spool)) == 1


@pytest.mark.parametrize("count", [0, 16_384])
async def test_a_message_has_some_deliveries_and_not_too_many(count: int) -> None:
    async with open_memory_spool(clock=Now()) as spool:
        message = await new_message(spool)
        message = NewMessage(
            message.queue_id,
            message.envelope,
            message.client,
            ARRIVED,
            b"",
            message.content,
            (queued(),) * count,
        )
        with pytest.raises(SpoolUnavailable, match="deliveries"):
            await spool.commit(message)


async def test_what_a_peer_said_may_be_nonsense() -> None:
    async with open_memory_spool(clock=Now()) as spool:
        await spool.commit(await new_message(spool))
        (delivery,) = await due(spool)
        odd = replace(delivery.recipients[0], last_reply="451 \udcff")
        await spool.settle(Reschedule(delivery.key, (odd,), ARRIVED, 1))
        (delivery,) = await due(spool)
        assert delivery.recipients[0].last_reply == ""
        assert delivery.attempts == 1


async def test_an_unfinished_read_leaves_nothing_behind() -> None:
    disk = MemoryDisk()
    async with open_memory_spool(clock=Now(), disk=disk) as spool:
        await spool.commit(await new_message(spool, content=BIG))
        (delivery,) = await due(spool)
        async for _ in spool.chunks(delivery.message):
            break
        await spool.settle(Finish(delivery.key))
        assert disk.files == {}


async def test_who_listens_to_commits_can_be_seen() -> None:
    offered: list[object] = []
    async with open_memory_spool(clock=Now()) as spool:
        spool.on_committed = offered.append
        assert spool.on_committed == offered.append
