"""A process that does everything there is to do to a spool, and says what it may promise.

    python tests/e2e/spool_scenario.py DIRECTORY MESSAGES

Lines, each in one write: ``will put N``, ``put N`` once N is acknowledged; ``will WHAT N`` before
an outcome of N is to be recorded, ``did WHAT N`` once it is durable; ``done``. WHAT is finish,
hold, later or report.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import trio

from edgerelay.runtime import in_thread
from edgerelay.spool import SqliteSpool, open_spool
from edgerelay.spool.api import Finish, Hold, PendingDelivery, Reschedule
from edgerelay.testing.check_spool import ARRIVED, new_message, queued

#: Octets for deletes on a full disk; a small one keeps the log short, so that it is emptied often.
BALLAST = 512 * 1024
OUTCOMES = ("finish", "hold", "later", "report", "")


def content_of(number: int) -> bytes:
    """What message ``number`` holds: every tenth is over 256 KiB and so a file."""
    line = b"message %d, again and again\r\n" % number
    return b"Subject: %d\r\n\r\n" % number + line * (10_000 if number % 10 == 7 else 3 + number)


def lane_of(number: int) -> str:
    return f"lane{number}"


def outcome_of(number: int) -> str:
    return OUTCOMES[number % len(OUTCOMES)]


def say(text: str) -> None:
    os.write(1, f"{text}\n".encode())


async def one(spool: SqliteSpool, number: int) -> None:
    lane = queued(lane_of(number), f"a{number}@example.com", f"b{number}@example.com")
    say(f"will put {number}")
    await spool.commit(await new_message(spool, lane, content=content_of(number)))
    say(f"put {number}")
    what = outcome_of(number)
    if not what:
        return
    (delivery,) = await spool.due(lane_of(number), ARRIVED, 10)
    say(f"will {what} {number}")
    await settle(spool, what, number, delivery)
    say(f"did {what} {number}")


async def settle(spool: SqliteSpool, what: str, number: int, delivery: PendingDelivery) -> None:
    match what:
        case "finish":
            await spool.settle(Finish(delivery.key))
        case "hold":
            await spool.settle(Hold(delivery.key, "held"))
        case "later":
            due = ARRIVED + 1000
            await spool.settle(Reschedule(delivery.key, delivery.recipients, due, 1))
        case "report":
            report = await new_message(
                spool,
                queued("reports", f"r{number}@example.com"),
                content=b"report %d" % number,
                about=delivery.message.queue_id,
            )
            await spool.settle(Finish(delivery.key), reports=[report])


async def work(directory: Path, messages: int) -> None:
    numbers = iter(range(messages))

    async def task(spool: SqliteSpool) -> None:
        for number in numbers:
            await one(spool, number)

    async with open_spool(
        directory,
        run_blocking=in_thread,
        clock=lambda: ARRIVED,
        observer=lambda _: None,
        ballast=BALLAST,
    ) as spool:
        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(task, spool)
        await spool.lane_pause("lane1", ARRIVED + 60, 2)
    say("done")


if __name__ == "__main__":
    trio.run(work, Path(sys.argv[1]), int(sys.argv[2]))
