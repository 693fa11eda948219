"""What a relay lends a policy, in memory: each is a fake that passes the contract of the real."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import trio
from trio.testing import memory_stream_pair

from edgerelay.dns.answer import Resolver
from edgerelay.policy import Change, Table
from edgerelay.runtime import inline
from edgerelay.tables.api import Tables

T = TypeVar("T")

Address = tuple[str, int] | Path
#: Speaks for a scanner: it is given the far end of each connection.
Scanner = Callable[[trio.abc.Stream], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Logged:
    """A line that a policy wrote for the operator."""

    text: str
    facts: Mapping[str, object]


class WatchedTable:
    """Passes everything on, and says when something is written."""

    def __init__(self, table: Table, on_write: Callable[[], None]) -> None:
        self._table = table
        self._on_write = on_write

    async def get(self, key: str) -> bytes | None:
        await trio.lowlevel.checkpoint()  # as one that may have to look into a file
        return await self._table.get(key)

    async def put(self, key: str, value: bytes, *, expires_in: float) -> None:
        self._on_write()
        await trio.lowlevel.checkpoint()
        await self._table.put(key, value, expires_in=expires_in)

    async def setdefault(self, key: str, value: bytes, *, expires_in: float) -> bytes:
        self._on_write()
        await trio.lowlevel.checkpoint()
        return await self._table.setdefault(key, value, expires_in=expires_in)

    async def update(self, key: str, change: Change) -> bytes | None:
        def noted(value: bytes | None) -> tuple[bytes, float] | None:
            changed = change(value)
            if changed is not None:
                self._on_write()
            return changed

        await trio.lowlevel.checkpoint()
        return await self._table.update(key, noted)

    async def delete(self, key: str) -> None:
        self._on_write()
        await trio.lowlevel.checkpoint()
        await self._table.delete(key)


class MemoryServices:
    """`edgerelay.policy.Services` for one policy. ``written`` counts changes of its tables."""

    def __init__(
        self,
        *,
        hostname: str,
        dns: Resolver,
        now: Callable[[], float],
        tables: Tables,
        scanners: Mapping[Address, Scanner],
        nursery: trio.Nursery,
    ) -> None:
        self.hostname = hostname
        self.dns = dns
        self.logged: list[Logged] = []
        self.written = 0
        self._now = now
        self._tables = tables
        self._scanners = scanners
        self._nursery = nursery

    def log(self, text: str, /, **facts: object) -> None:
        self.logged.append(Logged(text, facts))

    def now(self) -> float:
        return self._now()

    def table(self, name: str = "") -> Table:
        return WatchedTable(self._tables.table(name), self._count)

    async def connect(self, address: Address, *, timeout: float) -> trio.abc.Stream:
        return await connect_to(self._scanners, address, self._nursery)

    async def run_blocking(self, function: Callable[[], T], /) -> T:
        """At once: a mock clock would jump while a thread works."""
        return await inline(function)

    def _count(self) -> None:
        self.written += 1


async def connect_to(
    scanners: Mapping[Address, Scanner], address: Address, nursery: trio.Nursery
) -> trio.abc.Stream:
    """Return our end of a stream to a scanner at work. Raises OSError if there is none."""
    await trio.lowlevel.checkpoint()
    scanner = scanners.get(address)
    if scanner is None:
        raise ConnectionRefusedError(f"nobody listens at {address}")
    ours, theirs = memory_stream_pair()
    nursery.start_soon(_speak, scanner, theirs)
    return ours


async def _speak(scanner: Scanner, stream: trio.abc.Stream) -> None:
    async with stream:
        await scanner(stream)
