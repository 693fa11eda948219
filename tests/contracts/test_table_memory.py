"""Tables in memory keep the contract of `Table`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from edgerelay.runtime import Clock
from edgerelay.tables import MemoryTables, Tables
from edgerelay.testing.check_table import check_table


@asynccontextmanager
async def open_tables(clock: Clock) -> AsyncIterator[Tables]:
    yield MemoryTables(clock)


async def test_memory_keeps_the_contract() -> None:
    await check_table(open_tables)
