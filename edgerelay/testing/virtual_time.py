"""Time in a test: Trio's clock is a mock that jumps, and the wall clock goes along with it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

#: When a test begins unless it says otherwise: Thursday 2026-01-01 00:00 UTC.
START: Final = 1_767_225_600.0


class WallClock:
    """Seconds since the epoch: ``start`` when it is made, then as many more as Trio's clock."""

    def __init__(self, start: float | datetime = START) -> None:
        if isinstance(start, datetime):
            if start.tzinfo is None:
                raise ValueError("start: a datetime needs its time zone")
            start = start.timestamp()
        self._offset = start - trio.current_time()

    def __call__(self) -> float:
        return self._offset + trio.current_time()


def require_virtual_time() -> None:
    """Raise RuntimeError if hours would last hours."""
    clock = trio.lowlevel.current_clock()
    if not isinstance(clock, MockClock) or clock.autojump_threshold != 0:
        raise RuntimeError("virtual time is needed: let the test have the fixture autojump_clock")


async def wait(
    *, days: float = 0, hours: float = 0, minutes: float = 0, seconds: float = 0
) -> None:
    """Let so much time pass, and then everything happen that is due at that moment."""
    passes = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
    await trio.sleep(passes.total_seconds())
    await wait_all_tasks_blocked()
