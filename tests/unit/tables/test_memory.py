"""Tables in memory are bounded."""

from __future__ import annotations

from edgerelay.tables import MemoryTables
from edgerelay.testing.check_table import HandClock


async def test_the_oldest_entry_makes_room() -> None:
    table = MemoryTables(HandClock(), entries=2).table("t")
    for key in ("a", "b", "a", "c"):
        await table.put(key, b"", expires_in=60)
    assert [await table.get(key) for key in "abc"] == [b"", None, b""]
