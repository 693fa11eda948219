"""A relay as a whole: restarts, its end, and what an operator asks of it."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import MockClock

from edgerelay.observe.events import Delivery
from edgerelay.relay.routing import Router
from edgerelay.relay.settings import HopKind
from edgerelay.spool.api import REFUSED_LANE, Filter, SpoolFull, Status
from edgerelay.testing.cancel import cancel_at
from edgerelay.testing.scripted_peer import HANG, Late
from edgerelay.testing.wake_ups import WakeUps
from tests.unit.relay.conftest import hop

if TYPE_CHECKING:
    from tests.unit.relay.conftest import MakeWorld, World


async def test_a_message_is_delivered_and_forgotten(
    make_world: MakeWorld, autojump_clock: MockClock
) -> None:
    async with make_world() as world:
        peer = world.peer()
        async with world.run_relay():
            queue_id = await world.submit()
            await trio.sleep(1)
        (message,) = peer.messages
        assert message.content == (
            b"Received: from client.example\r\nSubject: hello\r\n\r\nHello there.\r\n"
        )
        assert message.rcpts == ("RCPT TO:<user@example.org>",)
        assert await world.queue() == []
        (event,) = world.seen(Delivery)
        assert event.queue_id == queue_id
        assert event.outcome == "delivered"
        assert event.next_hop == "10.0.0.1:25"
        assert event.recipients == [("<user@example.org>", "250 2.0.0 taken")]


async def test_what_was_committed_before_the_start_is_delivered(
    make_world: MakeWorld, autojump_clock: MockClock
) -> None:
    async with make_world() as world:
        peer = world.peer()
        for _ in range(3):
            await world.submit()
        async with world.run_relay():
            await trio.sleep(1)
        assert len(peer.messages) == 3
        assert await world.queue() == []


async def test_a_retry_survives_a_restart(
    make_world: MakeWorld, autojump_clock: MockClock
) -> None:
    async with make_world(retry=(300.0,)) as world:
        peer = world.peer(replies={"RCPT": ["450 4.2.1 later", "250 ok"]})
        async with world.run_relay():
            await world.submit()
            await trio.sleep(100)
        async with world.run_relay():
            await trio.sleep(190)
            assert peer.messages == []
            await trio.sleep(20)
        assert len(peer.messages) == 1


async def test_the_end_waits_for_the_answer_to_a_final_dot(
    make_world: MakeWorld, autojump_clock: MockClock
) -> None:
    async with make_world() as world:
        peer = world.peer(replies={"dot": Late(20, "250 2.0.0 taken")})
        async with world.run_relay():
            await world.submit()
            await trio.sleep(5)
            started = trio.current_time()
        assert trio.current_time() - started == 15
        assert await world.queue() == []
        assert [event.outcome for event in world.seen(Delivery)] == ["delivered"]
    assert len(peer.messages) == 1


async def test_the_end_waits_thirty_seconds_and_no_longer(
    make_world: MakeWorld, autojump_clock: MockClock
) -> None:
    async with make_world() as world:
        world.peer(replies={"dot": HANG})
        async with world.run_relay():
            await world.submit()
            await trio.sleep(5)
            started = trio.current_time()
        assert trio.current_time() - started == 30
        (left,) = await world.queue()
        assert left.attempts == 0


async def test_the_end_does_not_wait_before_the_final_dot(
    make_world: MakeWorld, autojump_clock: MockClock
) -> None:
    for command in ("greeting", "EHLO", "MAIL", "RCPT", "DATA"):
        async with make_world() as world:
            world.peer(replies={command: HANG})
            async with world.run_relay():
                await world.submit()
                await trio.sleep(5)
                started = trio.current_time()
            assert trio.current_time() == started
            assert len(await world.queue()) == 1


async def test_hold_and_release(make_world: MakeWorld, autojump_clock: MockClock) -> None:
    async with make_world() as world:
        peer = world.peer(replies={"RCPT": "450 4.2.1 later"})
        async with world.run_relay() as relay:
            await world.submit()
            await trio.sleep(1)
            assert await relay.hold(await world.queue(), "asked to") == 1
            await trio.sleep(1000)
            (held,) = await world.queue()
            assert (held.status, held.reason, held.attempts) == (Status.HELD, "asked to", 1)
            peer.replies.clear()
            assert await relay.release([held]) == 1
            await trio.sleep(1)
            assert len(peer.messages) == 1


async def test_flush_tries_at_once(make_world: MakeWorld, autojump_clock: MockClock) -> None:
    async with make_world(retry=(3600.0,)) as world:
        peer = world.peer(replies={"RCPT": ["450 4.2.1 later", "250 ok"]})
        async with world.run_relay() as relay:
            await world.submit()
            await trio.sleep(1)
            assert await relay.flush(await world.queue()) == 1
            await trio.sleep(1)
        assert len(peer.messages) == 1


async def test_flush_ends_the_pause_of_a_lane(
    make_world: MakeWorld, autojump_clock: MockClock
) -> None:
    async with make_world(retry=(3600.0,)) as world:
        async with world.run_relay() as relay:
            for _ in range(3):
                await world.submit()
            await trio.sleep(10)
            peer = world.peer()
            (first, *_) = await world.queue()
            assert await relay.flush([first]) == 1
            await trio.sleep(1)
        assert len(peer.messages) == 3


async def test_a_lane_that_another_worker_reached_is_probed_now(
    make_world: MakeWorld, autojump_clock: MockClock
) -> None:
    async with make_world(retry=(3600.0,)) as world:
        async with world.run_relay() as relay:
            await world.submit()
            await trio.sleep(10)
            peer = world.peer()
            relay.hurry("smtp://10.0.0.1:25")
            relay.hurry("smtp://10.0.0.99:25")  # unknown here: nothing waits for it
            await trio.sleep(1)
        assert len(peer.messages) == 1


async def test_delete(make_world: MakeWorld, autojump_clock: MockClock) -> None:
    async with make_world() as world:
        peer = world.peer(replies={"RCPT": "450 4.2.1 later"})
        async with world.run_relay() as relay:
            for _ in range(3):
                await world.submit()
            await trio.sleep(1)
            first, *_ = await world.queue()
            assert await relay.delete([first]) == 1
            peer.replies.clear()
            await trio.sleep(100)
        assert len(peer.messages) == 2


async def test_what_is_being_tried_is_left_alone(
    make_world: MakeWorld, autojump_clock: MockClock
) -> None:
    async with make_world() as world:
        peer = world.peer(replies={"dot": Late(60, "250 ok")})
        async with world.run_relay() as relay:
            await world.submit()
            await trio.sleep(1)
            trying = await world.queue()
            assert await relay.delete(trying) == 0
            assert await relay.hold(trying, "no") == 0
            assert await relay.flush(trying) == 0
            await trio.sleep(100)
        assert len(peer.messages) == 1


async def test_what_waits_in_memory_can_be_held(
    make_world: MakeWorld, autojump_clock: MockClock
) -> None:
    async with make_world(concurrency_per_destination=1) as world:
        peer = world.peer(replies={"dot": Late(10, "250 ok")})
        async with world.run_relay() as relay:
            for _ in range(3):
                await world.submit()
            await trio.sleep(1)
            assert await relay.hold(await world.queue(), "all but one") == 2
            await trio.sleep(100)
            assert len(peer.messages) == 1
            held = await world.spool.find(Filter(status=Status.HELD), 10)
            assert await relay.release(held) == 2
            await trio.sleep(100)
        assert len(peer.messages) == 3


async def test_suspects_are_tried_a_few_at_a_time(
    make_world: MakeWorld, autojump_clock: MockClock
) -> None:
    async with make_world(hop()) as world:
        for _ in range(10):
            await world.submit()
        peer = world.peer(replies={"dot": Late(10, "250 ok")})
        due = world.spool.due
        marked: list[int] = []
        mark = world.spool.mark_attempt

        async def suspects(lane: str, now: float, limit: int) -> list[object]:
            return [replace(one, on_probation=True) for one in await due(lane, now, limit)]

        async def marking(key: int) -> None:
            marked.append(key)
            await mark(key)

        world.spool.due = suspects  # type: ignore[method-assign,assignment]  # as after a crash
        world.spool.mark_attempt = marking  # type: ignore[method-assign]  # to see the order
        async with world.run_relay():
            await trio.sleep(5)
            assert (peer.open, len(marked)) == (3, 3)
            await trio.sleep(60)
        assert len(peer.messages) == len(marked) == 10


async def test_a_suspect_is_delivered_when_the_disk_has_no_room_for_its_mark(
    make_world: MakeWorld, autojump_clock: MockClock
) -> None:
    async with make_world(hop()) as world:
        await world.submit()
        peer = world.peer()
        due = world.spool.due

        async def suspects(lane: str, now: float, limit: int) -> list[object]:
            return [replace(one, on_probation=True) for one in await due(lane, now, limit)]

        async def no_room(key: int) -> None:
            raise SpoolFull("database: database or disk is full")

        world.spool.due = suspects  # type: ignore[method-assign,assignment]  # as after a crash
        world.spool.mark_attempt = no_room  # type: ignore[method-assign]  # as on a full disk
        async with world.run_relay():
            await trio.sleep(5)
            assert len(peer.messages) == 1
            assert await world.queue() == []


class _CancelAfter(trio.abc.Instrument):
    """Cancels ``scope`` after so many steps of any task."""

    def __init__(self, scope: trio.CancelScope, steps: int) -> None:
        self.left = steps
        self._scope = scope

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.left -= 1
        if self.left == 0:
            self._scope.cancel()


async def test_an_end_at_any_moment_loses_and_repeats_nothing(
    make_world: MakeWorld, autojump_clock: MockClock
) -> None:
    """From the final dot on a delivery is shielded until its outcome is recorded."""
    steps, was_cancelled = 1, True
    while was_cancelled:
        async with make_world(retry=(60.0,)) as world:
            peer = world.peer(replies={"RCPT b@example.org": "550 5.1.1 nobody"})
            for _ in range(3):
                await world.submit("a@example.org", "b@example.org")
            with trio.CancelScope() as scope:
                trio.lowlevel.add_instrument(instrument := _CancelAfter(scope, steps))
                try:
                    async with world.run_relay():
                        await trio.sleep(20)
                finally:
                    trio.lowlevel.remove_instrument(instrument)
            was_cancelled = scope.cancelled_caught
            async with world.run_relay():
                await trio.sleep(90)
            assert await world.queue() == [], steps
        mails = [message.mail.partition(" SIZE")[0] for message in peer.messages]
        assert mails.count("MAIL FROM:<alice@example.net>") == 3, steps
        assert mails.count("MAIL FROM:<>") == 3, steps
        steps += 11
    assert steps > 100


async def test_a_relay_that_can_only_wait_sleeps(
    make_world: MakeWorld, autojump_clock: MockClock
) -> None:
    """With nothing queued, and with a lane that is down: then it wakes to try again."""
    async with make_world(retry=(14400.0,)) as world, world.run_relay():
        await trio.sleep(60)
        with WakeUps() as woken:
            await trio.sleep(86_400)
        assert woken.steps < 1000  # a look at old mail each quarter of an hour
        await world.submit()
        await trio.sleep(60)
        with WakeUps() as woken:
            await trio.sleep(86_400)
        assert woken.steps < 2000


async def test_who_was_refused_after_others_were_accepted_is_reported(
    make_world: MakeWorld, autojump_clock: MockClock
) -> None:
    """The client has heard 250, so a policy's refusal can only reach the sender by mail."""
    async with make_world() as world:
        peer = world.peer()
        async with world.run_relay():
            refused = "550 5.7.1 Not this one"
            await world.submit(lane=REFUSED_LANE, reason=refused)
            await trio.sleep(1)
            await world.submit(lane=REFUSED_LANE, reason=refused, sender="")
            await trio.sleep(1)
        (report,) = peer.messages
        assert report.rcpts == ("RCPT TO:<alice@example.net>",)
        assert b"550 5.7.1 Not this one" in report.content
        (held,) = await world.queue()  # a null reverse-path is never reported to
        assert held.status is Status.HELD


async def test_a_lane_that_a_policy_chose_survives_a_restart(
    make_world: MakeWorld, autojump_clock: MockClock
) -> None:
    async with make_world() as world:
        peer = world.peer("10.0.0.9")
        lane = Router(world.settings).lane_to(["smtp://10.0.0.9:25"])
        assert lane is not None
        await world.submit(lane=lane.name)
        async with world.run_relay():
            await trio.sleep(1)
        assert len(peer.messages) == 1


@pytest.mark.parametrize(
    ("kind", "size", "answer", "inside"),
    [
        (HopKind.SMTP, 300_000, "250 2.0.0 taken", True),
        (HopKind.LMTP, 100, "250 2.0.0 taken", False),
        (HopKind.LMTP, 100, "550 5.7.1 no", True),
        (HopKind.SMTP, 100, "451 4.3.0 later", False),
    ],
)
async def test_a_delivery_cancelled_anywhere_loses_nothing_and_leaves_nothing(
    make_world: MakeWorld,
    autojump_clock: MockClock,
    kind: HopKind,
    size: int,
    answer: str,
    inside: bool,
) -> None:
    """The hop has it once, or its sender a report once, whenever the first attempt was cut."""
    for number in itertools.count(1):
        async with make_world(hop(kind)) as world:
            later = "550 5.7.1 no" if answer.startswith("5") else "250 2.0.0 taken"
            peer = world.peer(replies={"dot": [answer, later]}, lmtp=kind is HopKind.LMTP)
            sender = world.peer("10.0.0.7")  # where reports go

            async def work(world: World = world) -> None:
                async with world.run_relay():
                    await trio.sleep(1)

            await world.submit(sender="alice@[10.0.0.7]", content=b"x" * size)
            cancelled = await cancel_at(number, work, inside=inside, family=True)
            if answer.startswith("2"):
                assert len(peer.messages) + len(await world.queue()) == 1
            async with world.run_relay() as relay:
                await trio.sleep(70)
                assert relay.claims == 0
            assert world.spool.contents == (0, 0)
            assert await world.queue() == []
            reports = int(answer.startswith("5"))
            assert (len(peer.messages), len(sender.messages)) == (1 - reports, reports)
        if not cancelled:
            break
    assert number > 10
