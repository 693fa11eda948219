"""A lane goes down as a whole, comes back as a whole, and keeps its order."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import trio
from trio.testing import MockClock

from edgerelay.observe.events import Delivery, LaneDown, LaneUp, Trouble
from edgerelay.relay.lane_queue import WINDOW
from edgerelay.runtime import inline
from edgerelay.spool import open_spool
from edgerelay.testing.faulty_disk import DatabaseFaults
from edgerelay.testing.scripted_peer import HANG, Late
from tests.unit.relay.conftest import EPOCH, hop

if TYPE_CHECKING:
    from tests.unit.relay.conftest import MakeWorld

LANE = "smtp://10.0.0.1:25"


def subject(number: int) -> bytes:
    return b"Subject: %d\r\n\r\nbody\r\n" % number


def number_of(content: bytes) -> int:
    return int(content.partition(b"Subject: ")[2].partition(b"\r")[0])


async def test_down_and_up_again(make_world: MakeWorld, autojump_clock: MockClock) -> None:
    async with make_world(retry=(60.0, 300.0)) as world:
        async with world.run_relay() as relay:
            for number in range(10):
                await world.submit(content=subject(number))
                await trio.sleep(1)
            down = world.seen(LaneDown)
            assert [event.retry_in for event in down] == [60.0]
            assert "refused" in down[0].reason
            assert len(world.network.dialled) == 1
            (now,) = relay.lanes_now()
            assert (now.name, now.active) == (LANE, 0)
            assert now.paused_until == EPOCH + 60.0
            peer = world.peer()
            await trio.sleep(49)
            assert peer.connections == 0
            await trio.sleep(2)
            assert sorted(map(number_of, peer.contents)) == list(range(10))
            assert next(number_of(content) for content in peer.contents) == 0
        assert len(world.seen(LaneUp)) == 1
        assert await world.queue() == []
        assert await world.spool.lane_pauses() == {}


async def test_each_failure_waits_longer_and_asks_only_once(
    make_world: MakeWorld, autojump_clock: MockClock
) -> None:
    async with make_world(retry=(60.0, 300.0)) as world:
        async with world.run_relay():
            for _ in range(30):
                await world.submit()
            await trio.sleep(900)
        assert [event.retry_in for event in world.seen(LaneDown)] == [60, 300, 300, 300]
        # The first time all senders try at once; from then on it is one.
        assert len(world.network.dialled) <= 20 + 3
        left = await world.queue()
        assert {(one.attempts, one.recipients[0].last_reply) for one in left} == {(0, "")}


async def test_a_pause_survives_a_restart(
    make_world: MakeWorld, autojump_clock: MockClock
) -> None:
    async with make_world(retry=(60.0, 300.0)) as world:
        async with world.run_relay():
            await world.submit()
            await trio.sleep(70)
        assert await world.spool.lane_pauses() == {LANE: (EPOCH + 360, 2)}
        peer = world.peer()
        async with world.run_relay():
            await trio.sleep(280)
            assert peer.connections == 0
            await trio.sleep(20)
            assert len(peer.messages) == 1


async def test_what_was_deferred_by_the_outage_is_due_with_the_rest(
    make_world: MakeWorld, autojump_clock: MockClock
) -> None:
    async with make_world(retry=(60.0, 600.0)) as world:
        peer = world.peer(replies={"dot": HANG})
        async with world.run_relay():
            await world.submit(content=subject(1))
            await trio.sleep(1)
            world.network.stop(("10.0.0.1", 25))  # after the final dot: nobody knows
            await trio.sleep(1)
            assert [event.outcome for event in world.seen(Delivery)] == ["deferred"]
            await world.submit(content=subject(2))
            await trio.sleep(1)
            assert len(world.seen(LaneDown)) == 1
            peer = world.peer()
            await trio.sleep(65)
        assert sorted(number_of(content) for content in peer.contents) == [1, 2]


async def test_no_more_senders_than_allowed(
    make_world: MakeWorld, autojump_clock: MockClock
) -> None:
    async with make_world(concurrency_per_destination=3) as world:
        peer = world.peer(replies={"dot": Late(10, "250 ok")})
        async with world.run_relay() as relay:
            for _ in range(12):
                await world.submit()
            await trio.sleep(5)
            assert peer.open == 3
            assert relay.lanes_now()[0].queued == 12
            await trio.sleep(40)
        assert len(peer.messages) == 12
        assert peer.connections == 3


async def test_a_backlog_larger_than_memory_goes_in_order(
    make_world: MakeWorld, autojump_clock: MockClock
) -> None:
    count = WINDOW + 700
    async with make_world(concurrency_per_destination=1) as world:
        for number in range(count):
            await world.submit(content=subject(number))
        peer = world.peer()
        async with world.run_relay():
            await trio.sleep(0.01)
            await world.submit(content=subject(count))
            await trio.sleep(60)
        assert [number_of(content) for content in peer.contents] == list(range(count + 1))
        assert await world.queue() == []


async def test_a_hop_that_wants_few_connections_is_not_down(
    make_world: MakeWorld, autojump_clock: MockClock
) -> None:
    async with make_world() as world:
        peer = world.peer(
            replies={
                "greeting": ["220 hello", "220 hello", "421 4.3.2 too many connections"],
                "dot": Late(5, "250 ok"),
            }
        )
        async with world.run_relay():
            for _ in range(2):
                await world.submit()
            await trio.sleep(1)
            for _ in range(8):
                await world.submit()
            await trio.sleep(60)
        assert not world.seen(LaneDown)
        assert len(peer.messages) == 10
        assert peer.connections <= 2 + 20


async def test_one_dead_lane_holds_up_no_other(
    make_world: MakeWorld, autojump_clock: MockClock
) -> None:
    async with make_world() as world:
        peer = world.peer()
        async with world.run_relay():
            await world.submit(lane="mx:[10.0.0.9]")
            world.network.blackholes.add(("10.0.0.9", 25))
            await world.submit()
            await trio.sleep(1)
            assert len(peer.messages) == 1


async def test_a_fault_of_ours_is_reported_and_the_message_waits(
    make_world: MakeWorld, autojump_clock: MockClock
) -> None:
    class Faulty:
        def __init__(self, works: object) -> None:
            self.faults = 1
            self.works = works

        async def __call__(self, *args: object, **kwargs: object) -> object:
            if self.faults:
                self.faults -= 1
                raise RuntimeError("a defect")
            return await self.works(*args, **kwargs)  # type: ignore[operator]  # the real one

    async with make_world() as world:
        peer = world.peer()
        world.network = Faulty(world.network)  # type: ignore[assignment]  # a dialer all the same
        async with world.run_relay():
            await world.submit()
            await trio.sleep(1)
            assert any("RuntimeError" in event.detail for event in world.seen(Trouble))
            await world.submit()
            await trio.sleep(1)
            assert len(peer.messages) == 1
            await trio.sleep(70)
        assert len(peer.messages) == 2


async def test_idle_lanes_vanish(make_world: MakeWorld, autojump_clock: MockClock) -> None:
    async with make_world(hop()) as world:
        world.peer()
        async with world.run_relay() as relay:
            await world.submit()
            await trio.sleep(1)
            assert len(relay.lanes_now()) == 1
            await trio.sleep(20)
            assert relay.lanes_now() == []


async def test_a_clock_that_is_set_back_does_not_make_the_queue_wait_for_it(
    make_world: MakeWorld, autojump_clock: MockClock
) -> None:
    async with make_world(retry=(60.0, 300.0)) as world:
        peer = world.peer(replies={"dot": ["451 4.3.0 not now"] * 2 + ["250 2.0.0 taken"] * 2})
        async with world.run_relay():
            await world.submit(content=subject(1))
            await world.submit(content=subject(2))
            await trio.sleep(1)
            world.jump -= 36_000.0
            await trio.sleep(120)
        assert len(peer.contents) == 2
        assert await world.queue() == []


async def test_a_lane_that_is_down_is_probed_although_the_clock_was_set_back(
    make_world: MakeWorld, autojump_clock: MockClock
) -> None:
    async with make_world(retry=(60.0, 300.0)) as world:
        async with world.run_relay():
            await world.submit()
            await trio.sleep(1)
        assert len(world.seen(LaneDown)) == 1
        world.jump -= 36_000.0
        peer = world.peer()
        async with world.run_relay():  # what it knows of the pause is a time of that clock
            await trio.sleep(120)
        assert len(peer.contents) == 1


async def test_a_lane_that_was_crowded_and_is_probed_does_not_look_again_and_again(
    make_world: MakeWorld, autojump_clock: MockClock
) -> None:
    """It had a time in the past to wait for, and kept the processor busy until the probe ended."""
    async with make_world(retry=(60.0, 300.0)) as world:
        world.network.blackholes.add(("10.0.0.1", 25))
        for number in range(3):
            await world.submit(content=subject(number))
        await world.spool.lane_pause(LANE, world.clock() + 2, 1)
        async with world.run_relay() as relay:
            (lane,) = relay._lanes.values()
            lane._crowded_until = trio.current_time() + 1  # as a full hop leaves it that goes down
            await trio.sleep(10)  # the probe goes on, the others wait
            assert lane.now().active == 1
            assert lane._seconds_to_wait() > 0


async def test_what_a_full_disk_kept_from_being_rescheduled_is_tried_when_there_is_room(
    make_world: MakeWorld, autojump_clock: MockClock
) -> None:
    """Ten minutes long the disk takes no outcome; the retry is due after one."""
    faults = DatabaseFaults()
    async with make_world(hop(), retry=(60.0,)) as world:
        peer = world.peer(replies={"dot": ["451 4.3.0 not now", "250 2.0.0 taken"]})
        async with (
            open_spool(
                None,
                run_blocking=inline,
                clock=world.clock,
                observer=world.events.append,
                connect=faults.connect,
            ) as world.spool,
            world.run_relay(),
        ):
            await world.submit()
            faults.fail("BEGIN", sqlite3.SQLITE_FULL, times=10_000)
            await trio.sleep(600)
            assert peer.contents == []
            faults.heal()
            await trio.sleep(120)
            assert len(peer.contents) == 1
            assert await world.queue() == []
