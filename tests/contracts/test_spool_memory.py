"""The spool in memory, under virtual time, is a spool."""

from __future__ import annotations

from trio.testing import MockClock

from edgerelay.spool import open_memory_spool
from edgerelay.testing.check_spool import ARRIVED, check_spool


async def test_the_memory_form_passes_the_contract(autojump_clock: MockClock) -> None:
    await check_spool(lambda: open_memory_spool(clock=lambda: ARRIVED))
