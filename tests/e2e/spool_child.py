"""A process that uses the spool: commits without end and prints what it may promise.

    python tests/e2e/spool_child.py DIRECTORY [--count N] [--tasks T] [--settle]

Lines: ``ready``, ``put ID SECONDS`` after each commit returned, ``failed CLASS`` after one
that did not, ``done``.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import trio

from edgerelay.mail.address import ForwardPath, Mailbox, ReversePath
from edgerelay.mail.envelope import ClientFacts, Envelope, Recipient
from edgerelay.runtime import in_thread
from edgerelay.spool import SqliteSpool, open_spool
from edgerelay.spool.api import Finish, NewDelivery, NewMessage, SpoolError

ENVELOPE = Envelope(ReversePath(Mailbox("sender", "example.org")))
CLIENT = ClientFacts("192.0.2.1", "client.example.org", "ESMTP")
DELIVERY = NewDelivery("lane", (Recipient(ForwardPath(Mailbox("user", "example.com"))),))
SIZES = (100, 4096, 100_000, 300_000)
clock = time.time  # noqa: TID251  a program is where the clock comes from


def body(queue_id: str, index: int) -> bytes:
    """Content that tells whose it is, of a size that goes by the index."""
    line = f"{queue_id}\r\n".encode()
    return line * (SIZES[index % len(SIZES)] // len(line))


async def put(spool: SqliteSpool, index: int) -> None:
    queue_id = spool.allocate_id()
    content = spool.new_content()
    try:
        if content.feed(body(queue_id, index)):
            await content.flush()
        message = NewMessage(queue_id, ENVELOPE, CLIENT, clock(), b"", content, (DELIVERY,))
        started = trio.current_time()
        await spool.commit(message)
        print("put", queue_id, trio.current_time() - started, flush=True)
    except SpoolError as error:
        content.discard()
        print("failed", type(error).__name__, flush=True)


async def work(directory: Path, count: int, tasks: int, settle: bool) -> None:
    numbers = iter(range(count))

    async def task(spool: SqliteSpool) -> None:
        for index in numbers:
            await put(spool, index)

    async with open_spool(
        directory, run_blocking=in_thread, clock=clock, observer=lambda _: None
    ) as spool:
        if settle:
            spool.on_committed = lambda committed: spool.settle_soon(
                *[Finish(each.key) for each in committed if each.key >> 14 & 1]
            )
        print("ready", flush=True)
        async with trio.open_nursery() as nursery:
            for _ in range(tasks):
                nursery.start_soon(task, spool)
    print("done", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=Path)
    parser.add_argument("--count", type=int, default=10**9)
    parser.add_argument("--tasks", type=int, default=8)
    parser.add_argument("--settle", action="store_true")
    options = parser.parse_args()
    trio.run(work, options.directory, options.count, options.tasks, options.settle)


if __name__ == "__main__":
    main()
