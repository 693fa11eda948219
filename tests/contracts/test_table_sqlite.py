"""Tables in SQLite keep the contract of `Table`, in a file and in memory."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from pathlib import Path

import trio.testing

from edgerelay.runtime import Clock, in_thread, inline
from edgerelay.tables import SqliteTables, Tables
from edgerelay.testing.check_table import check_table


async def test_a_file_keeps_the_contract(tmp_path: Path) -> None:
    numbers = iter(range(100))

    def open_tables(clock: Clock) -> AbstractAsyncContextManager[Tables]:
        return SqliteTables(tmp_path / f"{next(numbers)}.db", in_thread, clock)

    await check_table(open_tables)


async def test_memory_keeps_the_contract_in_virtual_time(
    autojump_clock: trio.testing.MockClock,
) -> None:
    await check_table(lambda clock: SqliteTables(":memory:", inline, clock))
