"""A callout: what the hop says of a recipient, and when it says nothing about one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import MockClock

from edgerelay.mail.address import ForwardPath, Mailbox
from edgerelay.relay.callout import ProbeFailed
from edgerelay.relay.routing import LaneSpec, Router
from edgerelay.testing.scripted_peer import DROP, HANG, Actions
from tests.unit.relay.conftest import World, hop

if TYPE_CHECKING:
    from tests.unit.relay.conftest import MakeWorld

USER = ForwardPath(Mailbox("user", "example.org"))


def lane(world: World) -> LaneSpec:
    spec = Router(world.settings).lane_of(USER.mailbox, anywhere=False)
    assert spec is not None
    return spec


@pytest.mark.parametrize(
    "reply", ["250 2.1.5 fine", "550 5.1.1 nobody", "450 4.2.1 later", "452 4.2.2 full"]
)
@pytest.mark.parametrize("extensions", [("PIPELINING",), ()])
async def test_the_answer_is_the_hops(
    make_world: MakeWorld, autojump_clock: MockClock, reply: str, extensions: tuple[str, ...]
) -> None:
    async with make_world() as world:
        peer = world.peer(replies={"RCPT": reply}, extensions=extensions)
        async with world.run_relay() as relay:
            assert str(await relay.probe(lane(world), USER)) == reply
    assert peer.commands[1:] == ["MAIL FROM:<>", "RCPT TO:<user@example.org>", "QUIT"]
    assert peer.messages == []


@pytest.mark.parametrize(
    "fault",
    [
        {"greeting": "554 5.3.2 no"},
        {"MAIL": "550 5.7.1 no null reverse-path"},
        {"MAIL": DROP},
        {"RCPT": DROP},
        {"RCPT": "421 4.3.2 closing"},
        {"RCPT": "banana"},
    ],
    ids=str,
)
async def test_what_says_nothing_of_the_recipient_is_no_answer(
    make_world: MakeWorld, autojump_clock: MockClock, fault: dict[str, Actions]
) -> None:
    async with make_world() as world:
        world.peer(replies=dict(fault))
        async with world.run_relay() as relay:
            with pytest.raises(ProbeFailed):
                await relay.probe(lane(world), USER)


async def test_it_is_over_in_twenty_seconds(
    make_world: MakeWorld, autojump_clock: MockClock
) -> None:
    async with make_world() as world:
        world.peer(replies={"RCPT": HANG})
        async with world.run_relay() as relay:
            started = trio.current_time()
            with pytest.raises(ProbeFailed):
                await relay.probe(lane(world), USER)
            assert trio.current_time() - started == 20


async def test_the_next_hop_is_asked_if_the_first_is_down(
    make_world: MakeWorld, autojump_clock: MockClock
) -> None:
    async with make_world(hop(), hop(host="10.0.0.2")) as world:
        world.peer("10.0.0.2", {"RCPT": "550 5.1.1 nobody"})
        async with world.run_relay() as relay:
            assert (await relay.probe(lane(world), USER)).code == 550
