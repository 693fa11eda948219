"""In a quiet moment room is returned, ballast reserved, and a long log reported, once."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import trio
from trio.testing import MockClock

from edgerelay.observe.events import Event, Trouble
from edgerelay.runtime import inline
from edgerelay.spool import open_memory_spool, open_spool
from edgerelay.spool.api import Finish
from edgerelay.spool.disk import DirectoryDisk, MemoryDisk
from edgerelay.spool.housekeeping import WAL_LIMIT
from edgerelay.testing.check_spool import ARRIVED, due, new_message
from edgerelay.testing.faulty_disk import FaultyDisk


async def test_free_pages_go_back_to_the_disk_but_for_some(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_spool(
        tmp_path, run_blocking=inline, clock=lambda: ARRIVED, observer=lambda _: None
    ) as spool:
        for _ in range(100):
            await spool.commit(await new_message(spool, content=b"x" * 250_000))
        deliveries = await due(spool)
        await spool.settle(*[Finish(each.key) for each in deliveries])
        await trio.sleep(60)
    database = sqlite3.connect(tmp_path / "spool.db")
    free = database.execute("PRAGMA freelist_count").fetchone()[0]
    database.close()
    assert free == 1024, "16 MiB, which new mail will use"


async def test_a_long_log_is_reported_once(autojump_clock: MockClock) -> None:
    events: list[Event] = []
    disk = MemoryDisk()
    async with open_memory_spool(
        clock=lambda: ARRIVED, disk=disk, observer=events.append
    ) as spool:
        for wal in (WAL_LIMIT, WAL_LIMIT + 1, WAL_LIMIT + 2, 0, WAL_LIMIT + 1):
            disk.wal = wal
            await spool.commit(await new_message(spool))
            await trio.sleep(5)
    assert len([event for event in events if isinstance(event, Trouble)]) == 2


async def test_ballast_that_did_not_fit_is_reserved_when_there_is_room(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    disk = FaultyDisk(DirectoryDisk(tmp_path))
    disk.failing.add("ballast")
    async with open_spool(
        tmp_path,
        run_blocking=inline,
        clock=lambda: ARRIVED,
        observer=lambda _: None,
        disk=disk,
        ballast=1 << 20,
    ) as spool:
        await spool.commit(await new_message(spool))
        await trio.sleep(5)
        reserved = [disk.ballast]
        disk.failing.clear()
        await trio.sleep(5)
        reserved.append(disk.ballast)
    assert reserved == [0, 1 << 20]
