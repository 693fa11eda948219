"""The wall clock of a test goes with Trio's."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
import trio
from trio.testing import MockClock

from edgerelay.testing.virtual_time import WallClock, require_virtual_time, wait


async def test_it_starts_when_it_is_told_and_goes_on(autojump_clock: MockClock) -> None:
    await trio.sleep(1000)
    clock = WallClock(datetime(2026, 1, 1, tzinfo=UTC))
    assert clock() == 1_767_225_600.0
    await wait(days=1, hours=1, minutes=1, seconds=1)
    assert clock() == 1_767_225_600.0 + 86400 + 3600 + 61


async def test_what_is_due_at_that_moment_has_happened(autojump_clock: MockClock) -> None:
    happened = []

    async def work() -> None:
        await trio.sleep(60)
        for _ in range(20):
            await trio.lowlevel.checkpoint()
        happened.append(trio.current_time())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(work)
        await wait(minutes=1)
        assert happened == [60]


async def test_a_time_without_a_zone_says_too_little(autojump_clock: MockClock) -> None:
    with pytest.raises(ValueError, match="time zone"):
        WallClock(datetime(2026, 1, 1))


async def test_virtual_time_can_be_required(autojump_clock: MockClock) -> None:
    require_virtual_time()
    autojump_clock.autojump_threshold = 1.0
    with pytest.raises(RuntimeError):
        require_virtual_time()
    autojump_clock.autojump_threshold = 0
