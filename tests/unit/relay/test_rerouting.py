"""Routes were changed while mail waited: it goes the new way, or is held."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import trio
from trio.testing import MockClock

from edgerelay.observe.events import Held
from edgerelay.relay.rerouting import NO_ROUTE
from edgerelay.relay.settings import RouteSettings
from edgerelay.spool.api import Status
from tests.unit.relay.conftest import hop

if TYPE_CHECKING:
    from tests.unit.relay.conftest import MakeWorld

OLD = "smtp://10.9.9.9:25"


async def test_mail_follows_its_domain(make_world: MakeWorld, autojump_clock: MockClock) -> None:
    async with make_world() as world:
        for _ in range(300):
            await world.submit(lane=OLD)
        peer = world.peer()
        async with world.run_relay():
            await trio.sleep(10)
        assert await world.queue() == []
    assert len(peer.messages) == 300


async def test_what_no_route_takes_is_held(
    make_world: MakeWorld, autojump_clock: MockClock
) -> None:
    async with make_world() as world:
        await world.submit("user@elsewhere.example", lane=OLD)
        async with world.run_relay():
            await trio.sleep(10)
        (held,) = await world.queue()
        assert (held.status, held.reason) == (Status.HELD, NO_ROUTE)
        assert len(world.seen(Held)) == 1


async def test_recipients_may_part(make_world: MakeWorld, autojump_clock: MockClock) -> None:
    async with make_world() as world:
        await world.submit(
            "a@example.org", "b@example.com", "c@elsewhere.example", "d@example.org", lane=OLD
        )
        other = RouteSettings(("example.com",), (hop(host="10.0.0.2"),), "any")
        world.settings = replace(world.settings, routes=(*world.settings.routes, other))
        first, second = world.peer(), world.peer("10.0.0.2")
        async with world.run_relay():
            await trio.sleep(10)
        (held,) = await world.queue()
        assert held.recipients[0].recipient.forward_path.mailbox.local_part == "c"
        assert held.status is Status.HELD
    assert first.messages[0].rcpts == ("RCPT TO:<a@example.org>", "RCPT TO:<d@example.org>")
    assert second.messages[0].rcpts == ("RCPT TO:<b@example.com>",)
