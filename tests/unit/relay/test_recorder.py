"""An outcome is recorded whole: a report that cannot be written keeps its failure queued."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import MockClock

from edgerelay.observe.events import Held, Reported, Trouble
from edgerelay.relay.reports import UNTOLD
from edgerelay.spool.api import SpoolUnavailable, Status, StoredMessage

if TYPE_CHECKING:
    from tests.unit.relay.conftest import MakeWorld


async def test_a_failure_that_cannot_be_reported_stays(
    make_world: MakeWorld, autojump_clock: MockClock
) -> None:
    async with make_world(retry=(60.0,)) as world:
        peer = world.peer(replies={"RCPT a@example.org": "550 5.1.1 nobody"})
        head = world.spool.head

        async def failing(message: StoredMessage, limit: int) -> bytes:
            raise SpoolUnavailable("the disk failed")

        world.spool.head = failing  # type: ignore[method-assign]  # a disk that fails
        async with world.run_relay():
            await world.submit("a@example.org", "b@example.org")
            await trio.sleep(1)
            (left,) = await world.queue()
            assert [str(one.recipient.forward_path) for one in left.recipients] == [
                "<a@example.org>"
            ]
            assert any(event.detail == "the disk failed" for event in world.seen(Trouble))
            world.spool.head = head  # type: ignore[method-assign]  # it works again
            await trio.sleep(100)
        assert await world.queue() == []
        assert len(world.seen(Reported)) == 1
    assert len([one for one in peer.messages if "b@example.org" in one.rcpts[0]]) == 1


async def test_a_failure_whose_report_cannot_be_composed_is_held(
    make_world: MakeWorld, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ValueError("what nobody thought of")

    monkeypatch.setattr("edgerelay.relay.reports.report", fail)
    async with make_world() as world:
        world.peer(replies={"RCPT a@example.org": "550 5.1.1 nobody"})
        async with world.run_relay():
            await world.submit("a@example.org", "b@example.org")
            await trio.sleep(1)
        (held,) = await world.queue()
        assert (held.status, held.reason) == (Status.HELD, UNTOLD)
        assert [str(one.recipient.forward_path) for one in held.recipients] == ["<a@example.org>"]
        assert [event.reason for event in world.seen(Held)] == [UNTOLD]
