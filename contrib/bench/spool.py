"""Measure put+delete of the spool: messages a second and CPU microseconds each.

    python contrib/bench/spool.py [DIRECTORY] [--seconds S]

Each of N tasks commits a message and settles it at once, so deletes ride the batches of the
puts. CPU is the whole process's, kernel time included; runs of the sizes are interleaved and
the median is printed.
"""

from __future__ import annotations

import argparse
import functools
import os
import resource
import statistics
import tempfile
import time
from pathlib import Path

import trio

from edgerelay.mail.address import ForwardPath, Mailbox, ReversePath
from edgerelay.mail.envelope import ClientFacts, Envelope, Recipient
from edgerelay.runtime import in_thread
from edgerelay.spool import SqliteSpool, open_spool
from edgerelay.spool.api import Finish, NewDelivery, NewMessage

ENVELOPE = Envelope(ReversePath(Mailbox("sender", "example.org")))
CLIENT = ClientFacts("192.0.2.1", "client.example.org", "ESMTP")
DELIVERY = NewDelivery(
    "smtp://10.0.0.5:25,smtp://10.0.0.6:25",
    (Recipient(ForwardPath(Mailbox("user", "example.com"))),),
)
PREPEND = b"Received: from client.example.org ([192.0.2.1]) by mx.example.com\r\n" * 3
CASES = [(4096, 1), (4096, 8), (4096, 32), (4096, 128), (102_400, 32)]


clock = time.time  # noqa: TID251  a program is where the clock comes from


def cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


async def put_and_delete(spool: SqliteSpool, body: bytes, until: float, done: list[int]) -> None:
    while trio.current_time() < until:
        content = spool.new_content()
        content.feed(body)
        message = NewMessage(
            spool.allocate_id(), ENVELOPE, CLIENT, clock(), PREPEND, content, (DELIVERY,)
        )
        await spool.commit(message)
        done[0] += 1


async def measure(directory: Path, size: int, tasks: int, seconds: float) -> tuple[float, float]:
    body = os.urandom(size)
    done = [0]
    async with open_spool(
        directory, run_blocking=in_thread, clock=clock, observer=lambda _: None
    ) as spool:
        spool.on_committed = lambda committed: spool.settle_soon(
            *[Finish(each.key) for each in committed]
        )
        started, used = trio.current_time(), cpu()
        async with trio.open_nursery() as nursery:
            for _ in range(tasks):
                nursery.start_soon(put_and_delete, spool, body, started + seconds, done)
        elapsed, used = trio.current_time() - started, cpu() - used
    return done[0] / elapsed, used / done[0] * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", nargs="?", help="on the disk to measure")
    parser.add_argument("--seconds", type=float, default=1.0, help="of each run")
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    results: dict[tuple[int, int], list[tuple[float, float]]] = {case: [] for case in CASES}
    with tempfile.TemporaryDirectory(dir=options.directory) as directory:
        for run in range(options.runs):
            for size, tasks in CASES:
                shard = Path(directory) / f"{run}-{size}-{tasks}"
                run_once = functools.partial(measure, shard, size, tasks, options.seconds)
                results[size, tasks].append(trio.run(run_once))
    print(f"{'octets':>8} {'at once':>8} {'messages/s':>11} {'CPU us each':>12}")
    for (size, tasks), figures in results.items():
        rate = statistics.median(rate for rate, _ in figures)
        cost = statistics.median(cost for _, cost in figures)
        print(f"{size:>8} {tasks:>8} {rate:>11.0f} {cost:>12.0f}")


if __name__ == "__main__":
    main()
