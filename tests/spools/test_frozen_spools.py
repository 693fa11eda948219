"""A spool of every version of the format that was ever released opens, and means the same."""

from __future__ import annotations

import shutil
from pathlib import Path

from edgerelay.runtime import inline
from edgerelay.spool import open_spool
from edgerelay.spool.api import Filter, Finish, Status
from edgerelay.testing.check_spool import (
    ARRIVED,
    CLIENT,
    ENVELOPE,
    LANE,
    RECIPIENTS,
    due,
    read,
)

LARGE = b"A line of a large message.\r\n" * 10_000
FROZEN = Path(__file__).parent


async def test_version_1(tmp_path: Path) -> None:
    directory = tmp_path / "v1"
    shutil.copytree(FROZEN / "v1", directory)
    async with open_spool(
        directory, run_blocking=inline, clock=lambda: ARRIVED, observer=lambda _: None
    ) as spool:
        (tried,) = await due(spool)
        assert tried.lane == LANE
        assert (tried.attempts, tried.due, tried.warned) == (1, ARRIVED + 60, True)
        (pending,) = tried.recipients
        assert pending.recipient == RECIPIENTS[1]
        assert pending.last_reply == "451 4.3.0 later"
        message = tried.message
        assert (message.envelope, message.client) == (ENVELOPE, CLIENT)
        assert (message.size, message.is_7bit, message.prepend) == (7, False, b"Received: x\r\n")
        assert await read(spool, message) == b"caf\xc3\xa9\r\n"

        (large,) = await due(spool, "a")
        assert large.message.about == message.queue_id
        assert await read(spool, large.message) == LARGE

        held = await spool.find(Filter(status=Status.HELD), 10)
        assert [(each.lane, each.reason) for each in held] == [
            ("quarantine", "looks bad"),
            ("b", "by request"),
        ]
        assert await spool.lane_pauses() == {"a": (ARRIVED + 300, 4)}
        gauges = await spool.gauges()
        assert (gauges.messages, gauges.queued, gauges.held) == (2, 2, 2)
        assert spool.allocate_id() > large.message.queue_id

        await spool.settle(*[Finish(each.key) for each in (tried, large, *held)])
        gauges = await spool.gauges()
        assert (gauges.messages, gauges.octets) == (0, 0)
        assert list((directory / "content").iterdir()) == []
