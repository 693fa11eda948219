"""A full disk is an answer: 452 for new mail, nothing half-written, deliveries go on.

Three disks: a database that may not grow, content files without room, and a real small one.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from edgerelay.runtime import inline
from edgerelay.spool import SqliteSpool, open_spool
from edgerelay.spool.api import Finish, Reschedule, SpoolFull, SpoolUnavailable
from edgerelay.spool.disk import DirectoryDisk
from edgerelay.spool.schema import connect
from edgerelay.testing.check_spool import ARRIVED, due, new_message, queued, read
from edgerelay.testing.faulty_disk import DatabaseFaults

BODY = os.urandom(100_000)
FULL = sqlite3.SQLITE_FULL


def small_database(path: str) -> sqlite3.Connection:
    connection = connect(path)
    connection.execute("PRAGMA page_size=16384")
    connection.execute("PRAGMA max_page_count=100")  # 1.6 MB
    return connection


async def fill(spool: SqliteSpool) -> int:
    """Commit until there is no room; return how many messages there are."""
    for count in range(1000):
        try:
            await spool.commit(await new_message(spool, content=BODY))
        except SpoolFull:
            return count
    raise AssertionError("never full")


async def check_that_deliveries_go_on(spool: SqliteSpool, count: int) -> None:
    gauges = await spool.gauges()
    assert (gauges.messages, gauges.queued, gauges.in_flight) == (count, count, 0)
    assert not gauges.accepting
    first, second, *rest = await due(spool)
    assert len(rest) == count - 2
    assert await read(spool, first.message) == BODY
    spool.settle_soon(Finish(first.key))
    await spool.settle(Reschedule(second.key, second.recipients, ARRIVED, 1))
    for each in rest:
        await spool.settle(Finish(each.key))
    assert [each.attempts for each in await due(spool)] == [1]
    await trio.sleep(20)  # pages go back to the disk, slice by slice, for ballast
    await spool.commit(await new_message(spool, queued("again"), content=BODY))
    assert spool.accepts_mail


async def test_a_database_that_may_not_grow(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_spool(
        tmp_path,
        run_blocking=inline,
        clock=lambda: ARRIVED,
        observer=lambda _: None,
        connect=small_database,
    ) as spool:
        count = await fill(spool)
        assert count > 5
        await check_that_deliveries_go_on(spool, count)


@asynccontextmanager
async def faulty(path: Path, faults: DatabaseFaults) -> AsyncIterator[SqliteSpool]:
    async with open_spool(
        path,
        run_blocking=inline,
        clock=lambda: ARRIVED,
        observer=lambda _: None,
        connect=faults.connect,
    ) as spool:
        yield spool


async def test_ballast_is_given_for_outcomes_and_taken_again(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    faults = DatabaseFaults()
    async with faulty(tmp_path, faults) as spool:
        await spool.commit(await new_message(spool))
        (delivery,) = await due(spool)
        assert (tmp_path / "ballast").stat().st_size == 64 << 20
        faults.fail("COMMIT", FULL, times=2)  # emptying the log was not enough
        await spool.settle(Reschedule(delivery.key, delivery.recipients, ARRIVED, 1))
        assert not (tmp_path / "ballast").exists()
        await trio.sleep(5)
        assert (tmp_path / "ballast").exists()
        assert [each.attempts for each in await due(spool)] == [1]


async def test_when_nothing_helps_outcomes_wait(tmp_path: Path, autojump_clock: MockClock) -> None:
    faults = DatabaseFaults()
    async with faulty(tmp_path, faults) as spool:
        await spool.commit(await new_message(spool))
        (delivery,) = await due(spool)
        faults.fail("COMMIT", FULL, times=6)
        with pytest.raises(SpoolFull):
            await spool.settle(Finish(delivery.key))
        spool.settle_soon(Finish(delivery.key))
        assert await due(spool) == [], "it is settled, if not written"
        assert faults.are_over
        await trio.sleep(5)
        assert (await spool.gauges()).messages == 0


async def test_a_full_disk_at_the_start_costs_the_ballast(tmp_path: Path) -> None:
    faults = DatabaseFaults()
    async with faulty(tmp_path, faults):
        pass
    faults.fail("COMMIT", FULL)
    async with faulty(tmp_path, faults):
        assert not (tmp_path / "ballast").exists()
    faults.fail("COMMIT", FULL, times=2)
    with pytest.raises(SpoolFull):
        async with faulty(tmp_path, faults):
            raise AssertionError("opened")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 6 MiB: a tmpfs of its own. Without the right to mount one there is a
    test with the same promises above."""
    path = tmp_path / "small"
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=6m", "edgerelay-test", str(path)]
    if os.geteuid() or subprocess.run(mount, check=False).returncode:
        pytest.skip("needs the right to mount a tmpfs; max_page_count stands in above")
    yield path
    subprocess.run(["umount", "-l", str(path)], check=True)


async def test_a_real_small_disk(small_disk: Path, autojump_clock: MockClock) -> None:
    directory = small_disk / "shard"

    def make() -> open_spool:
        return open_spool(
            directory,
            run_blocking=inline,
            clock=lambda: ARRIVED,
            observer=lambda _: None,
            disk=disk,
        )

    directory.mkdir()
    disk = DirectoryDisk(directory)
    async with make() as spool:
        count = await fill(spool)
        assert count > 10
        with pytest.raises((SpoolFull, SpoolUnavailable)):
            await spool.commit(await new_message(spool, content=BODY * 100))
        assert list(disk.names()) == []
        await check_that_deliveries_go_on(spool, count)
    async with make() as spool:
        assert len(await due(spool)) == 1
        assert len(await due(spool, "again")) == 1
        database = sqlite3.connect(directory / "spool.db")
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        database.close()
