"""The two seams through which the world's time and its blocking calls are reached.

Production gives real ones; tests under virtual time give others, because Trio's MockClock
jumps while a thread works.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

import trio

T = TypeVar("T")


class Clock(Protocol):
    """A wall clock: seconds since the epoch. Deadlines never use it, they use Trio's."""

    def __call__(self) -> float: ...


class RunBlocking(Protocol):
    """Run a function that blocks, away from the loop, and return what it returns."""

    async def __call__(self, function: Callable[[], T], /) -> T: ...


async def in_thread(function: Callable[[], T], /) -> T:
    """Run ``function`` in one of Trio's worker threads. Costs about 0.1 ms of CPU.

    Not abandoned when cancelled: what it does to a disk must be known before we go on.
    """
    return await trio.to_thread.run_sync(function)


async def inline(function: Callable[[], T], /) -> T:
    """Run ``function`` at once: for virtual time, with SQLite in memory."""
    await trio.lowlevel.checkpoint()
    return function()
