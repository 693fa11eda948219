"""Tables of this process alone, gone with it: for tests, and where nothing need last."""

from __future__ import annotations

from typing import Final

from edgerelay.runtime import Clock
from edgerelay.tables.api import Change, check_key

_ENTRIES: Final = 100_000  #: of one table


class MemoryTables:
    """``entries`` bounds each table; beyond it the oldest entry goes."""

    def __init__(self, clock: Clock, *, entries: int = _ENTRIES) -> None:
        self._clock = clock
        self._entries = entries
        self._tables: dict[str, MemoryTable] = {}

    def table(self, name: str) -> MemoryTable:
        return self._tables.setdefault(name, MemoryTable(self._clock, self._entries))


class MemoryTable:
    def __init__(self, clock: Clock, entries: int = _ENTRIES) -> None:
        self._clock = clock
        self._bound = entries
        self._entries: dict[str, tuple[bytes, float]] = {}

    async def get(self, key: str) -> bytes | None:
        value, expires = self._entries.get(check_key(key), (None, 0.0))
        if value is None or expires > self._clock():
            return value
        del self._entries[key]
        return None

    async def put(self, key: str, value: bytes, *, expires_in: float) -> None:
        self._entries.pop(check_key(key), None)
        self._entries[key] = (value, self._clock() + expires_in)
        if len(self._entries) > self._bound:
            del self._entries[next(iter(self._entries))]

    async def setdefault(self, key: str, value: bytes, *, expires_in: float) -> bytes:
        standing = await self.get(key)
        if standing is None:
            await self.put(key, value, expires_in=expires_in)
            return value
        return standing

    async def update(self, key: str, change: Change) -> bytes | None:
        standing = await self.get(key)
        wanted = change(standing)  # nobody else runs between the two
        if wanted is None:
            return standing
        value, expires_in = wanted
        await self.put(key, value, expires_in=expires_in)
        return value

    async def delete(self, key: str) -> None:
        self._entries.pop(check_key(key), None)
