"""A shard that nobody owns is offered, to whom has least to do, again and again."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from errno import EIO
from pathlib import Path
from typing import Never

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from edgerelay.observe.events import Event, Trouble
from edgerelay.supervisor.shards import Shards


@dataclass(eq=False)
class Owner:
    shards: tuple[str, ...] = ()
    promised: str = ""
    may_adopt: bool = True
    takes: bool = True
    asked: list[tuple[float, str]] = field(default_factory=list)

    async def adopt(self, shard: str) -> None:
        self.asked.append((round(trio.current_time(), 1), shard))
        if self.takes:
            self.shards += (shard,)


class World:
    def __init__(self, spool: Path, *names: str) -> None:
        self.spool = spool
        self.events: list[Event] = []
        self.owners: list[Owner] = []
        self.shards = Shards(spool, self.owners, self.events.append)
        for name in names:
            self.make(name)

    def make(self, name: str) -> None:
        (self.spool / name).mkdir()
        (self.spool / name / "spool.db").touch()

    async def pass_time(self, seconds: float) -> None:
        with trio.move_on_after(seconds):
            await self.shards.run()


async def test_every_shard_without_owner_is_given_to_the_worker_that_has_fewest(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    world = World(tmp_path, "0", "1", "2", "3", "4")
    first, second = Owner(("0",)), Owner(("1", "2"))
    world.owners += [first, second]
    assert world.shards.without_owner() == ["3", "4"]
    await world.pass_time(1)
    assert (first.shards, second.shards) == (("0", "3"), ("1", "2", "4"))
    assert world.shards.without_owner() == []


async def test_a_worker_that_leaves_or_has_not_begun_is_not_asked(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    world = World(tmp_path, "0", "1")
    leaving = Owner(("0",), may_adopt=False)
    world.owners.append(leaving)
    await world.pass_time(100)
    assert leaving.asked == []


async def test_a_shard_that_cannot_be_had_is_offered_ever_less_often_and_told_of_once(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    """It may be a worker's whose supervisor was killed."""
    world = World(tmp_path, "0", "1")
    refusing = Owner(("0",), takes=False)
    world.owners.append(refusing)
    await world.pass_time(80)
    times = [at for at, _ in refusing.asked]
    assert times[:5] == [0, 0.5, 1.5, 3.5, 7.5]
    assert max(later - sooner for sooner, later in itertools.pairwise(times)) <= 10
    (trouble,) = world.events
    assert isinstance(trouble, Trouble)
    assert trouble.where == "shard 1"


async def test_a_shard_is_offered_as_soon_as_its_worker_has_ended(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    world = World(tmp_path, "0", "1")
    ending, staying = Owner(("0",)), Owner(("1",))
    world.owners += [ending, staying]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.shards.run)
        await trio.sleep(1000)
        world.owners.remove(ending)
        world.shards.look()
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert staying.asked == [(1000, "0")]


def test_a_worker_starts_with_its_own_shard_or_a_free_one_or_a_new_one(tmp_path: Path) -> None:
    world = World(tmp_path, "0", "1", "2")
    world.owners += [Owner(("0",)), Owner(promised="1")]
    assert world.shards.for_a_start("2") == "2"
    assert world.shards.for_a_start("0") == "2"  # somebody adopted it meanwhile
    world.owners.append(Owner(("2",)))
    assert world.shards.for_a_start() == "3"
    world.owners.append(Owner(promised="3"))
    assert world.shards.for_a_start() == "4"


async def test_who_asks_about_all_of_them_waits_for_an_owner_but_not_for_ever(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    world = World(tmp_path, "0", "1")
    owner = Owner(("0",), takes=False)
    world.owners.append(owner)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.shards.run)
        assert await world.shards.all_owned(3) == ["1"]
        assert trio.current_time() == 3
        owner.takes = True
        with trio.fail_after(20):
            while await world.shards.all_owned(3):
                world.shards.look()
        nursery.cancel_scope.cancel()


def test_a_disk_that_cannot_be_listed_ends_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path, "0")

    def fail(*_: object) -> Never:
        raise OSError(EIO, "Input/output error")

    monkeypatch.setattr(Path, "glob", fail)
    monkeypatch.setattr(Path, "exists", fail)
    assert world.shards.without_owner() == []
    assert (world.shards.for_a_start(), world.shards.for_a_start("7")) == ("0", "7")
