"""One file, many workers: what one writes the others read, and a broken file only fails calls."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest
import trio
import trio.testing

from edgerelay.census import strays, tasks_by_kind
from edgerelay.runtime import in_thread, inline
from edgerelay.tables import SqliteTables, TableError
from edgerelay.tables.api import STALE
from edgerelay.testing.check_table import HandClock

T = TypeVar("T")


class Counting:
    """Runs inline and counts how often it was asked to."""

    def __init__(self) -> None:
        self.count = 0

    async def __call__(self, function: Callable[[], T], /) -> T:
        self.count += 1
        return await inline(function)


async def test_its_task_was_taken_for_a_stray(tmp_path: Path) -> None:
    async with SqliteTables(tmp_path / "t.db", in_thread, HandClock()):
        assert strays() == []
        assert tasks_by_kind()["services"] == 1


async def test_it_outlives_the_process(tmp_path: Path) -> None:
    clock = HandClock()
    async with SqliteTables(tmp_path / "t.db", in_thread, clock) as tables:
        await tables.table("t").put("key", b"value", expires_in=60)
    async with SqliteTables(tmp_path / "t.db", in_thread, clock) as tables:
        assert await tables.table("t").get("key") == b"value"


async def test_two_workers_share_it(tmp_path: Path) -> None:
    clock = HandClock()
    async with (
        SqliteTables(tmp_path / "t.db", in_thread, clock) as one,
        SqliteTables(tmp_path / "t.db", in_thread, clock) as two,
    ):
        await one.table("t").put("key", b"one", expires_in=60)
        assert await two.table("t").get("key") == b"one"
        standing: list[bytes] = []

        async def claim(tables: SqliteTables, value: bytes, key: str) -> None:
            standing.append(await tables.table("t").setdefault(key, value, expires_in=60))

        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(claim, one, b"one", f"k{number}")
                nursery.start_soon(claim, two, b"two", f"k{number}")
        for number in range(20):
            mine = await one.table("t").setdefault(f"k{number}", b"late", expires_in=60)
            assert mine == await two.table("t").get(f"k{number}")


async def test_a_value_is_read_again_from_memory_for_a_moment(
    autojump_clock: trio.testing.MockClock,
) -> None:
    hops = Counting()
    async with SqliteTables(":memory:", hops, HandClock()) as tables:
        table = tables.table("t")
        await table.put("key", b"value", expires_in=600)
        before = hops.count
        with trio.testing.assert_no_checkpoints():
            assert await table.get("key") == b"value"
        assert hops.count == before
        await trio.sleep(STALE + 1)
        assert await table.get("key") == b"value"
        assert hops.count == before + 1


async def test_simultaneous_calls_share_one_hop(autojump_clock: trio.testing.MockClock) -> None:
    hops = Counting()
    async with SqliteTables(":memory:", hops, HandClock()) as tables:
        async with trio.open_nursery() as nursery:
            for number in range(50):
                nursery.start_soon(
                    lambda n: tables.table("t").put(f"k{n}", b"", expires_in=60), number
                )
        assert hops.count <= 2


async def test_what_has_ended_is_swept_away_in_slices(tmp_path: Path) -> None:
    clock = HandClock()
    async with SqliteTables(tmp_path / "t.db", in_thread, clock) as tables:
        async with trio.open_nursery() as nursery:
            for number in range(1500):
                nursery.start_soon(
                    lambda n: tables.table("t").put(f"k{n}", b"", expires_in=60), number
                )
        for left in (501, 2, 3):
            clock.now += 100
            await tables.table("t").put(f"new{left}", b"", expires_in=1e6)
            assert rows(tmp_path / "t.db") == left


async def test_the_file_is_bounded_and_keeps_what_lasts_longest(tmp_path: Path) -> None:
    clock = HandClock()
    async with SqliteTables(tmp_path / "t.db", in_thread, clock, entries=10) as tables:
        for number in range(30):
            await tables.table("t").put(f"k{number}", b"", expires_in=1000 + number)
        clock.now += 100
        await tables.table("t").put("one more", b"", expires_in=2000)
        assert rows(tmp_path / "t.db") == 11
        assert await tables.table("t").get("k29") == b""


def rows(file: Path) -> int:
    connection = sqlite3.connect(file)
    try:
        (count,) = connection.execute("SELECT count(*) FROM entries").fetchone()
        return int(count)
    finally:
        connection.close()


async def test_a_broken_file_fails_calls_and_a_mended_one_serves_them(tmp_path: Path) -> None:
    file = tmp_path / "t.db"
    file.write_bytes(b"this is no database" * 100)
    async with SqliteTables(file, in_thread, HandClock()) as tables:
        with pytest.raises(TableError, match="not a database"):
            await tables.table("t").get("key")
        file.unlink()
        await tables.table("t").put("key", b"value", expires_in=60)


async def test_a_newer_file_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "t.db"
    connection = sqlite3.connect(file)
    connection.execute("PRAGMA user_version=99")
    connection.close()
    async with SqliteTables(file, in_thread, HandClock()) as tables:
        with pytest.raises(TableError, match="newer program"):
            await tables.table("t").put("key", b"", expires_in=60)


async def test_a_cancelled_caller_leaves_the_others_in_peace(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with SqliteTables(":memory:", inline, HandClock()) as tables:
        with trio.CancelScope() as scope:
            scope.cancel()
            await tables.table("t").put("key", b"value", expires_in=60)
        assert scope.cancelled_caught
        await tables.table("t").put("other", b"value", expires_in=60)
        assert await tables.table("t").get("other") == b"value"
