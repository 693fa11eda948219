"""What a crash can leave, and what is done about it (the cases of spool/recovery.py)."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from edgerelay.observe.events import Event, Held, Trouble
from edgerelay.runtime import inline
from edgerelay.spool import SqliteSpool, open_spool
from edgerelay.spool.api import Filter, Finish, Hold, PendingDelivery, Release, Reschedule, Status
from edgerelay.spool.content import PIECE
from edgerelay.spool.recovery import MISSING, POISON
from edgerelay.testing.check_spool import ARRIVED, due, new_message, queued, read

BIG = b"x" * (PIECE + 10)


class World:
    """A directory that crashes: its successor is a copy made while the spool was open."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.now = ARRIVED
        self.events: list[Event] = []
        self.shard = path / "0"
        self._crashes = 0

    @asynccontextmanager
    async def spool(self) -> AsyncIterator[SqliteSpool]:
        async with open_spool(
            self.shard,
            run_blocking=inline,
            clock=lambda: self.now,
            observer=self.events.append,
            ballast=0,
        ) as spool:
            yield spool

    def crash(self) -> None:
        """The end that leaves what is on the disk at this moment."""
        self._crashes += 1
        copy = self.path / str(self._crashes)
        shutil.copytree(self.shard, copy)
        self.shard = copy

    @property
    def contents(self) -> list[str]:
        return sorted(each.name for each in (self.shard / "content").iterdir())

    def held(self) -> list[str]:
        return [event.reason for event in self.events if isinstance(event, Held)]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def test_a_clean_end_leaves_no_log_and_no_suspicion(world: World) -> None:
    async with world.spool() as spool:
        await spool.commit(await new_message(spool))
    assert not (world.shard / "spool.db-wal").exists()
    async with world.spool() as spool:
        (delivery,) = await due(spool)
        assert not delivery.on_probation
    assert world.events == []


async def test_what_was_committed_is_there_after_a_crash(world: World) -> None:
    async with world.spool() as spool:
        for content in (b"small", BIG):
            await spool.commit(await new_message(spool, content=content))
        world.crash()
    async with world.spool() as spool:
        first, second = await due(spool)
        assert await read(spool, first.message) == b"small"
        assert await read(spool, second.message) == BIG
        gauges = await spool.gauges()
        assert (gauges.messages, gauges.octets) == (2, 5 + len(BIG))
    assert [type(event) for event in world.events] == [Trouble]


async def test_a_file_without_a_row_is_swept(world: World) -> None:
    async with world.spool() as spool:
        await new_message(spool, content=BIG)
        world.crash()
    assert len(world.contents) == 1
    async with world.spool():
        assert world.contents == []


async def test_a_file_whose_row_was_deleted_is_swept(world: World) -> None:
    async with world.spool() as spool:
        await spool.commit(await new_message(spool, content=BIG))
        (delivery,) = await due(spool)
        (name,) = world.contents
        await spool.settle(Finish(delivery.key))
        world.crash()
    (world.shard / "content" / name).write_bytes(BIG)
    async with world.spool():
        assert world.contents == []


async def test_names_of_files_do_not_repeat_after_a_crash(world: World) -> None:
    async with world.spool() as spool:
        await spool.commit(await new_message(spool, content=BIG))
        world.crash()
    async with world.spool() as spool:
        await spool.commit(await new_message(spool, content=BIG))
        assert len(world.contents) == 2


async def test_a_row_without_its_file_is_held_with_an_event(world: World) -> None:
    async with world.spool() as spool:
        await spool.commit(await new_message(spool, queued(), queued("b"), content=BIG))
        await spool.commit(await new_message(spool, queued("c")))
    shutil.rmtree(world.shard / "content")
    async with world.spool() as spool:
        assert list(await spool.lanes()) == ["c"]
        held = await spool.find(Filter(status=Status.HELD), 10)
        assert [each.reason for each in held] == [MISSING] * 2
        gauges = await spool.gauges()
        assert (gauges.queued, gauges.held) == (1, 2)
    assert world.held() == [MISSING] * 2


async def test_what_was_due_at_a_crash_is_on_probation_until_it_is_settled(world: World) -> None:
    async with world.spool() as spool:
        await spool.commit(await new_message(spool, queued("due")))
        await spool.commit(await new_message(spool, queued("later"), arrived=ARRIVED + 500))
        await spool.commit(await new_message(spool, queued("settled")))
        world.crash()
    world.now += 60
    async with world.spool() as spool:
        await spool.commit(await new_message(spool, queued("fresh")))
        suspicion = {}
        for lane in await spool.lanes():
            (delivery,) = await due(spool, lane)
            suspicion[lane] = delivery.on_probation
        assert suspicion == {"due": True, "later": False, "settled": True, "fresh": False}
        (delivery,) = await due(spool, "settled")
        await spool.settle(Reschedule(delivery.key, delivery.recipients, ARRIVED, 1))
        (delivery,) = await due(spool, "settled")
        assert not delivery.on_probation
    async with world.spool() as spool:  # a clean end in between clears nobody
        (delivery,) = await due(spool, "due")
        assert delivery.on_probation
        await spool.settle(Hold(delivery.key, "x"))
        (held,) = await spool.find(Filter(lane="due"), 10)
        assert not held.on_probation
        await spool.settle(Release(delivery.key, ARRIVED))
        (delivery,) = await due(spool, "due")
        assert not delivery.on_probation


async def only(spool: SqliteSpool) -> PendingDelivery:
    (delivery,) = await due(spool)
    return delivery


async def test_a_delivery_in_flight_at_three_ends_is_held(world: World) -> None:
    async with world.spool() as spool:
        await spool.commit(await new_message(spool))
        await spool.commit(await new_message(spool, queued("other")))
        world.crash()
    for _ in range(3):
        async with world.spool() as spool:
            await spool.mark_attempt((await only(spool)).key)
            world.crash()
    async with world.spool() as spool:
        assert await due(spool) == []
        (held,) = await spool.find(Filter(status=Status.HELD), 10)
        assert held.reason == POISON
        assert len(await due(spool, "other")) == 1, "the rest goes on"
        await spool.settle(Release(held.key, ARRIVED))
        world.crash()
    async with world.spool() as spool:
        assert len(await due(spool)) == 1, "released, it starts anew"
    assert world.held() == [POISON]


async def test_an_outcome_clears_the_marker(world: World) -> None:
    async with world.spool() as spool:
        await spool.commit(await new_message(spool))
    for _ in range(5):
        async with world.spool() as spool:
            delivery = await only(spool)
            await spool.mark_attempt(delivery.key)
            await spool.mark_attempt(delivery.key)
            await spool.settle(Reschedule(delivery.key, delivery.recipients, ARRIVED, 1))
            world.crash()
    async with world.spool() as spool:
        delivery = await only(spool)
        await spool.mark_attempt(delivery.key)
        await spool.settle(Finish(delivery.key))
        await spool.mark_attempt(delivery.key)
        assert (await spool.gauges()).messages == 0
    with sqlite3.connect(world.shard / "spool.db") as database:
        assert database.execute("SELECT count(*) FROM mark").fetchone() == (0,)
    database.close()


async def test_a_marker_that_a_clean_end_found_standing_is_no_death(world: World) -> None:
    async with world.spool() as spool:
        await spool.commit(await new_message(spool))
    for _ in range(4):
        async with world.spool() as spool:
            await spool.mark_attempt((await only(spool)).key)
    async with world.spool() as spool:
        world.crash()
    async with world.spool() as spool:
        await only(spool)


async def test_ids_given_before_a_crash_are_not_given_again(world: World) -> None:
    async with world.spool() as spool:
        await spool.commit(await new_message(spool))
        given = [spool.allocate_id() for _ in range(1000)]
        world.crash()
    world.now -= 10_000
    async with world.spool() as spool:
        assert spool.allocate_id() > given[-1]


async def test_nor_are_those_given_before_a_clean_end(world: World) -> None:
    async with world.spool() as spool:
        given = [spool.allocate_id() for _ in range(1000)]
    world.now -= 10_000
    async with world.spool() as spool:
        assert spool.allocate_id() > given[-1]


SPOILED = {
    "a record that is no JSON": "UPDATE message SET record = '{' WHERE id = ?1",
    "a record that is no UTF-8": (
        "UPDATE message SET record = CAST(x'7bff7d' AS TEXT) WHERE id = ?1"
    ),
    "a record that is a number": "UPDATE message SET record = 7 WHERE id = ?1",
    "no recipients": "UPDATE delivery SET recipients = '[]' WHERE key >> 14 = ?1",
    "recipients that are none": "UPDATE delivery SET recipients = '[{}]' WHERE key >> 14 = ?1",
    "no message": "DELETE FROM message WHERE id = ?1",
    "a size that is a word": "UPDATE message SET arrived = 'noon', size = 'L' WHERE id = ?1",
    "an epoch that is a word": "UPDATE delivery SET epoch = 'iron' WHERE key >> 14 = ?1",
}


@pytest.mark.parametrize("spoil", SPOILED.values(), ids=SPOILED.keys())
async def test_a_record_that_does_not_parse_is_set_aside_and_the_rest_goes_on(
    world: World, spoil: str
) -> None:
    async with world.spool() as spool:
        for _ in range(3):
            await spool.commit(await new_message(spool))
        bad = (await due(spool))[1]
    database = sqlite3.connect(world.shard / "spool.db")
    with database:
        database.execute(spoil, (bad.key >> 14,))
    database.close()
    async with world.spool() as spool:
        (seen,) = await spool.find(Filter(queue_id=bad.message.queue_id), 10)
        assert (seen.key, seen.recipients) == (bad.key, ())
        assert await spool.find(Filter(reverse_path=""), 10) == [], "nothing is known of it"
        aged = await spool.aged(ARRIVED + 1, unwarned=False, limit=10)
        assert [each.key for each in aged if each.key != bad.key] == [each.key for each in aged]
        assert len(await due(spool)) == 2
        (held,) = await spool.find(Filter(status=Status.HELD), 10)
        assert held.key == bad.key
        assert held.message.queue_id == bad.message.queue_id
        assert held.reason.startswith("record does not parse")
        gauges = await spool.gauges()
        assert (gauges.queued, gauges.held) == (2, 1)
        await spool.discard(bad.key)
        assert await spool.find(Filter(status=Status.HELD), 10) == []
    assert len(world.held()) == 1


async def test_a_released_record_that_still_does_not_parse_is_set_aside_again(
    world: World,
) -> None:
    async with world.spool() as spool:
        await spool.commit(await new_message(spool))
    database = sqlite3.connect(world.shard / "spool.db")
    with database:
        database.execute("UPDATE message SET record = ''")
    database.close()
    async with world.spool() as spool:
        assert await due(spool) == []
        (held,) = await spool.find(Filter(status=Status.HELD), 10)
        await spool.settle(Release(held.key, ARRIVED))
        assert await due(spool) == []
        assert len(await spool.find(Filter(status=Status.HELD), 10)) == 1
    assert len(world.held()) == 2


async def test_recovery_walks_no_table(world: World) -> None:
    async with world.spool():
        pass
    database = sqlite3.connect(world.shard / "spool.db")
    plan = database.execute(
        "EXPLAIN QUERY PLAN SELECT id, file FROM message WHERE file IS NOT NULL"
    ).fetchall()
    database.close()
    assert "INDEX message_file" in plan[0][3]
