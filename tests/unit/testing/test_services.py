"""What the kit lends a policy keeps the promises of `edgerelay.policy.Services`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock

from edgerelay.policy import Services, Table
from edgerelay.runtime import Clock
from edgerelay.tables.api import Tables
from edgerelay.tables.memory import MemoryTables
from edgerelay.testing.check_table import check_table
from edgerelay.testing.literal_dns import LiteralResolver
from edgerelay.testing.services import Logged, MemoryServices, WatchedTable


def services(nursery: trio.Nursery) -> MemoryServices:
    lent = MemoryServices(
        hostname="mx.example.test",
        dns=LiteralResolver({}),
        now=lambda: 1000.0,
        tables=MemoryTables(lambda: 1000.0),
        scanners={("127.0.0.1", 3310): echo},
        nursery=nursery,
    )
    as_promised: Services = lent  # for mypy
    assert as_promised.hostname == "mx.example.test"
    return lent


async def echo(stream: trio.abc.Stream) -> None:
    while octets := await stream.receive_some():
        await stream.send_all(octets.upper())


async def test_a_scanner_answers_at_its_address() -> None:
    async with trio.open_nursery() as nursery:
        lent = services(nursery)
        async with await lent.connect(("127.0.0.1", 3310), timeout=5) as stream:
            await stream.send_all(b"ping")
            assert await stream.receive_some() == b"PING"
        with pytest.raises(ConnectionRefusedError):
            await lent.connect(("127.0.0.1", 3311), timeout=5)


async def test_what_it_does_can_be_read_off() -> None:
    async with trio.open_nursery() as nursery:
        lent = services(nursery)
        lent.log("a list is old", age=3)
        assert lent.logged == [Logged("a list is old", {"age": 3})]
        assert await lent.run_blocking(lambda: 6 * 7) == 42
        table = lent.table()
        assert await table.get("key") is None
        assert lent.written == 0
        await table.put("key", b"value", expires_in=60)
        await table.setdefault("key", b"other", expires_in=60)
        await lent.table("other").delete("key")
        assert lent.written == 3
        await table.update("key", lambda value: None)
        assert lent.written == 3
        await table.update("key", lambda value: (b"new", 60))
        assert lent.written == 4


class _Watched:
    def __init__(self, clock: Clock) -> None:
        self._tables = MemoryTables(clock)

    def table(self, name: str) -> Table:
        return WatchedTable(self._tables.table(name), lambda: None)


@asynccontextmanager
async def watched(clock: Clock) -> AsyncIterator[Tables]:
    yield _Watched(clock)


async def test_its_tables_keep_the_contract(autojump_clock: MockClock) -> None:
    await check_table(watched)
