"""Limits per client and network hold for the machine: what each worker counts, others learn.

Of connections held, only prefixes above half the lowest limit travel back; of new ones, all that a
rate is counted for, so an ordinary day costs a few hundred octets a second.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final, Never, Protocol

import trio

#: Seconds between two exchanges: how long a client can go unnoticed across workers.
INTERVAL: Final = 0.1


class Counting(Protocol):
    """A worker: who is connected to it, and how it hears of the others."""

    counts: dict[str, int]  #: per client, as the worker reported them
    others: dict[str, int]  #: what it was told last; empty for a new process
    arrivals: Counter[str]  #: new connections it reported; taken away when the others know

    async def tell_others_counts(
        self, counts: dict[str, int], arrivals: dict[str, int]
    ) -> None: ...


def counts_elsewhere(counts: Sequence[dict[str, int]], limit: int) -> list[dict[str, int]]:
    """Return, for each worker, what the others count of clients above half the limit."""
    total: Counter[str] = Counter()
    for here in counts:
        total.update(here)
    near = {client: n for client, n in total.items() if n > limit / 2}
    return [
        {client: n - here.get(client, 0) for client, n in near.items() if n > here.get(client, 0)}
        for here in counts
    ]


async def share_counts(living: Sequence[Counting], limit: Callable[[], int]) -> Never:
    """Exchange counts for ever; a worker is told only what changed for it.

    ``living`` may change at any time; ``limit`` is the lowest of connections, as it is now.
    """
    while True:
        await trio.sleep(INTERVAL)
        workers = tuple(living)
        elsewhere = counts_elsewhere([worker.counts for worker in workers], limit())
        arrivals = [worker.arrivals for worker in workers]
        for worker in workers:
            worker.arrivals = Counter()
        for index, (worker, others) in enumerate(zip(workers, elsewhere, strict=True)):
            new = sum((a for i, a in enumerate(arrivals) if i != index), Counter[str]())
            if new or others != worker.others:
                await worker.tell_others_counts(others, dict(new))
