"""A spool is open for as long as its block, and is left in order."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgerelay.observe.events import Event
from edgerelay.runtime import inline
from edgerelay.spool import open_memory_spool, open_spool
from edgerelay.spool.api import (
    Finish,
    SpoolUnavailable,
)
from edgerelay.testing.check_spool import ARRIVED, due, new_message


class Now:
    def __init__(self) -> None:
        self.now = ARRIVED

    def __call__(self) -> float:
        return self.now


async def test_a_block_that_fails_fails_with_its_own_exception() -> None:
    with pytest.raises(ZeroDivisionError):
        async with open_memory_spool(clock=Now()):
            raise ZeroDivisionError


async def test_a_closed_spool_takes_nothing_and_says_so() -> None:
    events: list[Event] = []
    async with open_memory_spool(clock=Now(), observer=events.append) as spool:
        await spool.commit(await new_message(spool))
        (delivery,) = await due(spool)
        late = await new_message(spool)
    with pytest.raises(SpoolUnavailable):
        await spool.commit(late)
    spool.settle_soon(Finish(delivery.key))
    assert [type(event).__name__ for event in events] == ["Trouble"]
    with pytest.raises(SpoolUnavailable):
        await spool.lanes()
    with pytest.raises(SpoolUnavailable):
        await spool.gauges()
    assert not spool.accepts_mail


async def test_outcomes_given_at_the_end_are_written(tmp_path: Path) -> None:
    def make() -> open_spool:
        return open_spool(tmp_path, run_blocking=inline, clock=Now(), observer=lambda _: None)

    async with make() as spool:
        await spool.commit(await new_message(spool))
        (delivery,) = await due(spool)
        spool.settle_soon(Finish(delivery.key))
    async with make() as spool:
        assert await due(spool) == []
