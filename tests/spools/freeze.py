"""Write a spool as this program writes it, to be kept for ever.

    python tests/spools/freeze.py tests/spools/v1

Run once for each version of the format, before its first release. What it holds is read by
test_frozen_spools.py with every later program.
"""

from __future__ import annotations

import sys
from pathlib import Path

import trio

from edgerelay.runtime import inline
from edgerelay.spool import open_spool
from edgerelay.spool.api import Filter, Hold, NewDelivery, PendingRecipient, Reschedule, Status
from edgerelay.testing.check_spool import (
    ARRIVED,
    LANE,
    RECIPIENTS,
    due,
    new_message,
    queued,
    to,
)

LARGE = b"A line of a large message.\r\n" * 10_000


async def freeze(directory: Path) -> None:
    """Two messages, four deliveries, one of them tried and one held; a pause; no clean end."""
    async with open_spool(
        directory,
        run_blocking=inline,
        clock=lambda: ARRIVED,
        observer=lambda _: None,
        ballast=0,
        tag=0x12345,
    ) as spool:
        quarantine = NewDelivery("quarantine", to("held@example.com"), Status.HELD, "looks bad")
        await spool.commit(
            await new_message(
                spool, NewDelivery(LANE, RECIPIENTS), quarantine, content=b"caf\xc3\xa9\r\n"
            )
        )
        (first,) = await due(spool)
        later = PendingRecipient(first.recipients[1].recipient, "451 4.3.0 later")
        await spool.settle(Reschedule(first.key, (later,), ARRIVED + 60, 1, warned=True))
        about = first.message.queue_id
        await spool.commit(
            await new_message(spool, queued("a"), queued("b"), content=LARGE, about=about)
        )
        (second,) = await due(spool, "b")
        await spool.settle(Hold(second.key, "by request"))
        await spool.lane_pause("a", ARRIVED + 300, 4)
        assert len(await spool.find(Filter(), 10)) == 4
        (marked,) = await due(spool, "a")
        await spool.mark_attempt(marked.key)


if __name__ == "__main__":
    trio.run(freeze, Path(sys.argv[1]))
