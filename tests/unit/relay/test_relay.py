"""A relay as a whole: what is committed is delivered, deferred, reported or held."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio
from trio.testing import MockClock

from edgerelay.observe.events import Delivery

if TYPE_CHECKING:
    from tests.unit.relay.conftest import MakeWorld


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
