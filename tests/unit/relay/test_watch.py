"""What is too old fails, in dead lanes too; what is being tried is left alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio
from trio.testing import MockClock

from edgerelay.mail.dsn import Report, report
from edgerelay.mail.envelope import Notify
from edgerelay.observe.events import Expired, Held, Reported, Trouble
from edgerelay.relay.reports import UNTOLD
from edgerelay.spool.api import Status
from edgerelay.testing.scripted_peer import Late

if TYPE_CHECKING:
    from tests.unit.relay.conftest import MakeWorld

LIFE = 7200.0  # seconds; short, since an idle second of virtual time is not free


async def test_expiry_works_for_a_dead_lane(
    make_world: MakeWorld, autojump_clock: MockClock
) -> None:
    async with make_world(expire=LIFE, warn_after=LIFE / 6) as world:
        async with world.run_relay():
            for _ in range(250):
                await world.submit(sender="alice@[10.0.0.7]")
            peer = world.peer("10.0.0.7")
            await trio.sleep(LIFE + 120)
        assert await world.queue() == []
        kinds = [event.kind for event in world.seen(Reported)]
        assert (kinds.count("delayed"), kinds.count("failed")) == (250, 250)
    assert len(peer.messages) == 500
    failed = [one for one in peer.contents if b"Action: failed" in one]
    assert len(failed) == 250
    assert b"Status: 4.4.7" in failed[0]
    assert b"x-edgerelay; 451 4.4.1 No connection to the next hop" in failed[0]
    assert b"10.0.0.1" not in failed[0]  # nobody outside needs to know what is behind us


async def test_what_expires_with_no_one_to_tell_is_held(
    make_world: MakeWorld, autojump_clock: MockClock
) -> None:
    async with make_world(expire=LIFE) as world:
        async with world.run_relay():
            await world.submit(sender="")
            await trio.sleep(LIFE + 120)
        assert len(world.seen(Held)) == 1
        assert not world.seen(Reported)


async def test_what_is_being_tried_gets_its_chance(
    make_world: MakeWorld, autojump_clock: MockClock
) -> None:
    async with make_world(expire=100.0, warn_after=50.0) as world:
        peer = world.peer(replies={"dot": Late(300, "250 ok")})
        async with world.run_relay():
            await world.submit()
            await trio.sleep(400)
        assert await world.queue() == []
        assert not world.seen(Reported)
    assert len(peer.messages) == 1


async def test_a_jump_of_the_wall_clock_expires_nothing(
    make_world: MakeWorld, autojump_clock: MockClock
) -> None:
    async with make_world(expire=LIFE, retry=(600.0,)) as world, world.run_relay():
        await world.submit()
        await trio.sleep(100)
        world.jump = 30 * LIFE
        await trio.sleep(1000)
        assert len(await world.queue()) == 1
        assert any("jumped" in event.what for event in world.seen(Trouble))
        peer = world.peer()
        await trio.sleep(3000)
        assert len(peer.messages) == 1


async def test_mail_in_lanes_of_no_route_expires_with_its_own_lane_gone(
    make_world: MakeWorld, autojump_clock: MockClock
) -> None:
    """Held for want of a route, it waits for an operator and is not expired."""
    async with make_world(expire=LIFE) as world:
        await world.submit("user@elsewhere.example", lane="smtp://10.9.9.9:25")
        async with world.run_relay():
            await trio.sleep(2 * LIFE)
        assert len(await world.queue()) == 1


async def test_short_times_are_kept(make_world: MakeWorld, autojump_clock: MockClock) -> None:
    """A look at an empty queue must not make the next one late."""
    async with make_world(expire=3.0, warn_after=2.0) as world:
        async with world.run_relay():
            await trio.sleep(100.5)
            await world.submit(sender="alice@[10.0.0.7]")
            world.peer("10.0.0.7")
            await trio.sleep(6)
        assert [event.kind for event in world.seen(Reported)] == ["delayed", "failed"]


async def test_a_message_that_cannot_be_reported_is_held_and_stops_no_other(
    make_world: MakeWorld, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults = [ValueError("what nobody thought of")]

    def report_or_fail(*args: Any, **more: Any) -> Report:
        if faults:
            raise faults.pop()
        return report(*args, **more)

    monkeypatch.setattr("edgerelay.relay.reports.report", report_or_fail)
    async with make_world(expire=300.0, warn_after=300.0) as world:
        async with world.run_relay():
            for _ in range(2):
                await world.submit(sender="alice@[10.0.0.7]")
            world.peer("10.0.0.7")
            await trio.sleep(500)
        assert [event.kind for event in world.seen(Reported)] == ["failed"]
        assert any("what nobody thought of" in event.detail for event in world.seen(Trouble))
        (held,) = await world.queue()
        assert (held.status, held.reason) == (Status.HELD, UNTOLD)


async def test_what_is_released_too_late_expires_at_once(
    make_world: MakeWorld, autojump_clock: MockClock
) -> None:
    async with make_world(expire=LIFE, warn_after=LIFE / 2, retry=(LIFE,)) as world:
        async with world.run_relay() as relay:
            await world.submit(sender="alice@[10.0.0.7]")
            await trio.sleep(1)
            await relay.hold(await world.queue(), "looked at by hand")
            await trio.sleep(2 * LIFE)
            await relay.release(await world.queue())
            await trio.sleep(3)
        assert "failed" in [event.kind for event in world.seen(Reported)]


async def test_who_wants_no_report_is_not_given_up_without_a_trace(
    make_world: MakeWorld, autojump_clock: MockClock
) -> None:
    async with make_world(expire=LIFE) as world:
        async with world.run_relay():
            queue_id = await world.submit(notify=Notify(0))
            await trio.sleep(LIFE + 120)
        assert await world.queue() == []
        assert not world.seen(Reported)
        (expired,) = world.seen(Expired)
        assert expired.queue_id == queue_id
        assert [path for path, _ in expired.recipients] == ["<user@example.org>"]
