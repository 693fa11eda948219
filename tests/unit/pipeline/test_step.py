"""A coroutine runs in this task, and its first wait is told."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from edgerelay.pipeline.step import step


async def test_who_never_waits_is_never_told_of() -> None:
    told: list[str] = []

    async def quick() -> int:
        return 7

    assert await step(quick(), lambda: told.append("waits")) == 7
    assert told == []


async def test_only_the_first_wait_is_told(autojump_clock: MockClock) -> None:
    told: list[float] = []

    async def slow() -> str:
        await trio.sleep(1)
        await trio.sleep(2)
        return "done"

    assert await step(slow(), lambda: told.append(trio.current_time())) == "done"
    assert told == [0]
    assert trio.current_time() == 3


async def test_cancellation_and_errors_pass_through(autojump_clock: MockClock) -> None:
    ends: list[str] = []

    async def slow() -> None:
        try:
            await trio.sleep(9)
        except trio.Cancelled:
            ends.append("cancelled")
            raise

    async def fails() -> None:
        await trio.sleep(1)
        raise OSError("lost")

    with trio.move_on_after(1):
        await step(slow(), lambda: None)
    with pytest.raises(OSError, match="lost"):
        await step(fails(), lambda: None)
    assert ends == ["cancelled"]


async def test_scopes_and_nurseries_inside_it_are_those_of_the_task(
    autojump_clock: MockClock,
) -> None:
    async def nests() -> float:
        with trio.move_on_after(2):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.sleep_forever)
        return trio.current_time()

    assert await step(nests(), lambda: None) == 2
