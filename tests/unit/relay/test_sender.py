"""Which hop is asked, in what order, and what is tried again at once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import trio
from trio.testing import MockClock

from edgerelay.observe.events import Delivery, LaneDown
from edgerelay.relay.sender import MAX_AGE
from edgerelay.relay.settings import HopKind
from edgerelay.testing.scripted_peer import DROP, Drop
from tests.unit.relay.conftest import hop

if TYPE_CHECKING:
    from tests.unit.relay.conftest import MakeWorld


async def test_a_connection_is_kept(make_world: MakeWorld, autojump_clock: MockClock) -> None:
    async with make_world() as world:
        peer = world.peer()
        async with world.run_relay():
            for _ in range(5):
                await world.submit()
                await trio.sleep(1)
            assert peer.connections == 1
            await trio.sleep(10)
            assert peer.open == 0
            assert peer.commands[-1] == "QUIT"


async def test_an_old_connection_is_replaced(
    make_world: MakeWorld, autojump_clock: MockClock
) -> None:
    async with make_world() as world:
        peer = world.peer()
        async with world.run_relay():
            for _ in range(int(MAX_AGE / 2) + 3):
                await world.submit()
                await trio.sleep(2)
    assert peer.connections == 2


async def test_a_kept_connection_that_is_dead_costs_no_time(
    make_world: MakeWorld, autojump_clock: MockClock
) -> None:
    for end in (DROP, Drop("421 4.4.2 idle for too long")):
        async with make_world() as world:
            peer = world.peer(replies={"MAIL": ["250 ok", end, "250 ok"]})
            async with world.run_relay():
                await world.submit()
                await trio.sleep(1)
                await world.submit()
                await trio.sleep(1)
            assert await world.queue() == []
            assert [event.outcome for event in world.seen(Delivery)] == ["delivered"] * 2
        assert peer.connections == 2
        assert len(peer.messages) == 2


async def test_a_kept_connection_that_dies_after_the_dot_is_not_tried_again_at_once(
    make_world: MakeWorld, autojump_clock: MockClock
) -> None:
    async with make_world() as world:
        world.peer(replies={"dot": ["250 ok", DROP, "250 ok"]})
        async with world.run_relay():
            await world.submit()
            await trio.sleep(1)
            await world.submit()
            await trio.sleep(1)
            assert [event.outcome for event in world.seen(Delivery)] == ["delivered", "deferred"]


async def test_the_next_hop_is_asked_when_the_first_is_down(
    make_world: MakeWorld, autojump_clock: MockClock
) -> None:
    async with make_world(hop(), hop(host="10.0.0.2")) as world:
        peer = world.peer("10.0.0.2")
        async with world.run_relay():
            await world.submit()
            await trio.sleep(1)
    assert len(peer.messages) == 1
    assert not world.seen(LaneDown)


async def test_hops_that_greet_badly_are_passed_over(
    make_world: MakeWorld, autojump_clock: MockClock
) -> None:
    hops = [hop(host=f"10.0.0.{number}") for number in range(1, 6)]
    async with make_world(*hops) as world:
        world.peer("10.0.0.1", {"greeting": "554 5.3.2 go away"})
        world.peer("10.0.0.2", {"greeting": "450 4.3.2 busy"})
        world.peer("10.0.0.3", {"MAIL": DROP})
        world.peer("10.0.0.4", {"EHLO": "550 5.3.2 no", "HELO": "550 5.3.2 no"})
        peer = world.peer("10.0.0.5")
        async with world.run_relay():
            await world.submit()
            await trio.sleep(1)
    assert len(peer.messages) == 1


async def test_a_host_that_never_takes_mail_is_final_unless_we_were_told_to_use_it(
    make_world: MakeWorld, autojump_clock: MockClock
) -> None:
    """RFC 7504 section 3. A hop of the configuration waits for whoever mends it."""
    async with make_world() as world:
        for host in ("10.0.0.1", "10.0.0.9"):
            world.peer(host, {"greeting": "521 5.3.2 no mail here, ever"})
        async with world.run_relay():
            await world.submit("user@[10.0.0.9]", "user@example.org", sender="")
            await trio.sleep(1)
            [delivery] = world.seen(Delivery)
            assert (delivery.lane, delivery.outcome) == ("mx:[10.0.0.9]", "failed")
            [down] = world.seen(LaneDown)
            assert down.lane == "smtp://10.0.0.1:25"


async def test_a_hop_that_failed_is_avoided_for_a_while(
    make_world: MakeWorld, autojump_clock: MockClock
) -> None:
    first, second = ("10.0.0.1", 25), ("10.0.0.2", 25)
    async with make_world(hop(), hop(host="10.0.0.2")) as world:
        world.peer("10.0.0.2")
        async with world.run_relay():
            await world.submit()
            await trio.sleep(20)  # the connection is closed in between
            await world.submit()
            await trio.sleep(60)
            world.peer("10.0.0.1")
            await world.submit()
            await trio.sleep(1)
        assert world.network.dialled == [first, second, second, first]


async def test_a_refused_message_asks_no_other_hop(
    make_world: MakeWorld, autojump_clock: MockClock
) -> None:
    async with make_world(hop(), hop(host="10.0.0.2")) as world:
        world.peer("10.0.0.1", {"RCPT": "450 4.2.1 later"})
        second = world.peer("10.0.0.2")
        async with world.run_relay():
            await world.submit()
            await trio.sleep(1)
    assert second.connections == 0


async def test_an_old_server_is_greeted_with_helo(
    make_world: MakeWorld, autojump_clock: MockClock
) -> None:
    async with make_world() as world:
        peer = world.peer(replies={"EHLO": "502 5.5.1 what?"})
        async with world.run_relay():
            await world.submit()
            await trio.sleep(1)
    assert len(peer.messages) == 1
    assert peer.commands[1] == "HELO relay.example.com"


async def test_a_maildir_and_a_unix_socket_are_hops_like_others(
    make_world: MakeWorld, autojump_clock: MockClock, tmp_path: Path
) -> None:
    unix = hop(HopKind.LMTP_UNIX, path=Path("/run/lmtp"))
    maildir = hop(HopKind.MAILDIR, path=tmp_path / "{local_part}")
    async with make_world(unix, maildir) as world:
        async with world.run_relay():
            await world.submit("anna@example.org")
            await trio.sleep(70)
            assert len(list((tmp_path / "anna/new").iterdir())) == 1
            peer = world.peer("/run/lmtp", lmtp=True)
            await world.submit("anna@example.org")
            await trio.sleep(1)
        assert await world.queue() == []
    assert len(peer.messages) == 1
