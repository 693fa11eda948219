"""A worker delivers what another one left behind, as long as that one does not live."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from edgerelay.observe.events import Event, ShardAdopted, ShardRemoved, Trouble
from edgerelay.relay.relay import Relay
from edgerelay.runtime import inline
from edgerelay.shards import Shard, Shards
from edgerelay.spool import open_memory_spool, open_spool
from edgerelay.spool.api import Spool
from edgerelay.spool.names import shard_names
from edgerelay.testing.check_spool import ARRIVED, due, new_message
from edgerelay.testing.virtual_time import wait


class Delivering(Relay):
    """Finishes what is in its spool once it is told to, and notes what it is told."""

    def __init__(self, spool: Spool, fails: bool = False) -> None:
        self.spool = spool
        self.fails = fails
        self.may = trio.Event()
        self.hurried: list[str] = []

    async def run(self) -> None:  # type: ignore[override]  # this one may end
        if self.fails:
            raise ZeroDivisionError("a slip")
        await self.may.wait()
        for delivery in await due(self.spool):
            await self.spool.discard(delivery.key)
        await trio.sleep_forever()

    def hurry(self, lane: str) -> None:
        self.hurried.append(lane)


@dataclass
class World:
    directory: Path
    events: list[Event] = field(default_factory=list)
    relays: list[Delivering] = field(default_factory=list)
    fails: bool = False

    def open_shard(self, name: str) -> open_spool:
        return open_spool(
            self.directory / name,
            run_blocking=inline,
            clock=lambda: ARRIVED,
            observer=self.events.append,
            ballast=0,
        )

    async def fill(self, name: str) -> None:
        async with self.open_shard(name) as spool:
            await spool.commit(await new_message(spool))

    def relay_for(self, spool: Spool) -> Delivering:
        self.relays.append(Delivering(spool, self.fails))
        return self.relays[-1]

    @asynccontextmanager
    async def shards(self) -> AsyncIterator[Shards]:
        async with open_memory_spool(clock=lambda: ARRIVED) as own, trio.open_nursery() as nursery:
            shards = Shards(
                Shard("0", own, Delivering(own)),
                self.open_shard,
                self.relay_for,
                self.events.append,
            )
            nursery.start_soon(shards.run)
            await wait_all_tasks_blocked()
            yield shards
            nursery.cancel_scope.cancel()

    def told(self, kind: type[Event]) -> list[Event]:
        return [event for event in self.events if type(event) is kind]


async def test_an_adopted_shard_is_removed_when_all_of_it_is_delivered(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    world = World(tmp_path)
    await world.fill("7")
    async with world.shards() as shards:
        shards.adopt("7")
        await wait(seconds=1)
        assert list(shards.names) == ["0", "7"]
        assert world.told(ShardAdopted) == [ShardAdopted(shard="7", messages=1)]
        shards.hurry("lane")
        assert world.relays[0].hurried == ["lane"]

        world.relays[0].may.set()
        await wait(seconds=1)
        assert list(shards.names) == ["0"]
    assert world.told(ShardRemoved) == [ShardRemoved(shard="7")]
    assert shard_names(tmp_path) == []


async def test_a_shard_whose_owner_lives_is_left_to_it(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    world = World(tmp_path)
    async with world.shards() as shards, world.open_shard("7") as spool:
        await spool.commit(await new_message(spool))
        shards.adopt("7")
        await wait(seconds=1)
        assert list(shards.names) == ["0"]
        assert world.relays == []
    assert world.events == []


async def test_what_is_not_delivered_yet_waits_in_the_shard_for_the_next_worker(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    world = World(tmp_path)
    await world.fill("7")
    for _ in range(2):
        async with world.shards() as shards:
            shards.adopt("7")
            shards.adopt("7")  # asked twice, adopted once
            await wait(seconds=1)
            assert list(shards.names) == ["0", "7"]
    async with world.open_shard("7") as spool:
        assert len(await due(spool)) == 1


async def test_a_fault_in_an_adopted_shard_ends_nothing_else(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    world = World(tmp_path, fails=True)
    await world.fill("7")
    async with world.shards() as shards:
        shards.adopt("7")
        await wait(seconds=1)
        assert list(shards.names) == ["0"]
        world.fails = False
        shards.adopt("7")  # the supervisor asks again
        await wait(seconds=1)
        assert list(shards.names) == ["0", "7"]
    (trouble,) = (event for event in world.events if isinstance(event, Trouble))
    assert (trouble.where, trouble.detail) == ("shard 7", "ZeroDivisionError: a slip")


async def test_a_shard_that_cannot_be_read_is_told_of(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    world = World(tmp_path)
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "spool.db").write_bytes(b"nonsense" * 1000)
    async with world.shards() as shards:
        shards.adopt("7")
        await wait(seconds=1)
        assert list(shards.names) == ["0"]
    (trouble,) = (event for event in world.events if isinstance(event, Trouble))
    assert (trouble.where, trouble.what) == ("shard 7", "cannot be opened")


async def test_nobody_adopts_before_or_after_its_time(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    world = World(tmp_path)
    await world.fill("7")
    async with world.shards() as shards:
        pass
    shards.adopt("7")
    await wait(seconds=1)
    assert list(shards.names) == ["0"]
