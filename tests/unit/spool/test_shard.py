"""A shard has one owner, is its alone to read, and refuses what it cannot be."""

from __future__ import annotations

import sqlite3
import stat
from pathlib import Path

import pytest
import trio

from edgerelay.observe.events import Event, Trouble
from edgerelay.runtime import inline
from edgerelay.spool import SpoolLocked, SpoolTooNew, open_spool
from edgerelay.spool.api import Finish, SpoolError, SpoolUnavailable
from edgerelay.spool.disk import DirectoryDisk
from edgerelay.testing.check_spool import ARRIVED, due, new_message
from edgerelay.testing.faulty_disk import FaultyDisk


def make(path: Path) -> open_spool:
    return open_spool(
        path, run_blocking=inline, clock=lambda: ARRIVED, observer=lambda _: None, ballast=0
    )


async def test_a_second_owner_is_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    async with make(tmp_path) as spool:
        with pytest.raises(SpoolLocked, match="in use"):
            async with make(tmp_path):
                raise AssertionError("opened")
        await spool.commit(await new_message(spool))
    async with make(tmp_path) as spool:
        assert len(await due(spool)) == 1


async def test_everything_is_for_the_owner_alone(tmp_path: Path) -> None:
    shard = tmp_path / "spool" / "1"
    async with make(shard) as spool:
        await spool.commit(await new_message(spool, content=b"x" * 300_000))
        modes = {
            path.relative_to(shard).as_posix(): stat.S_IMODE(path.stat().st_mode)
            for path in [shard, *shard.rglob("*")]
        }
    assert {modes.pop("."), modes.pop("content")} == {0o700}
    assert set(modes.values()) == {0o600}
    assert {"lock", "spool.db", "spool.db-wal", "spool.db-shm"} < set(modes)


async def test_a_newer_spool_is_an_error_of_its_own(tmp_path: Path) -> None:
    async with make(tmp_path):
        pass
    with sqlite3.connect(tmp_path / "spool.db") as database:
        database.execute("PRAGMA user_version=99")
    database.close()
    for _ in range(2):  # nothing stays locked
        with pytest.raises(SpoolTooNew):
            async with make(tmp_path):
                raise AssertionError("opened")


async def test_rubbish_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "spool.db").write_bytes(b"not a database, but long enough to be read" * 99)
    with pytest.raises(SpoolError):
        async with make(tmp_path):
            raise AssertionError("opened")


async def test_an_interrupted_creation_is_made_again(tmp_path: Path) -> None:
    (tmp_path / "spool.db").write_bytes(b"")
    async with make(tmp_path) as spool:
        await spool.commit(await new_message(spool))


async def test_a_directory_that_cannot_be_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(SpoolUnavailable):
        async with make(tmp_path / "file" / "shard"):
            raise AssertionError("opened")


async def test_a_shard_that_nobody_needs_is_removed_once_it_is_empty(tmp_path: Path) -> None:
    shard = tmp_path / "1"
    async with make(shard) as spool:
        spool.is_kept = False
        await spool.commit(await new_message(spool))
        (delivery,) = await due(spool)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(spool.wait_until_empty)
            await spool.settle(Finish(delivery.key))
    assert not shard.exists()


async def test_a_shard_that_nobody_needs_stays_as_long_as_mail_is_in_it(tmp_path: Path) -> None:
    async with make(tmp_path) as spool:
        spool.is_kept = False
        await spool.commit(await new_message(spool))
        assert not spool.is_empty
    async with make(tmp_path) as spool:
        assert len(await due(spool)) == 1


async def test_a_shard_that_cannot_be_removed_is_told_of_and_may_be_opened_again(
    tmp_path: Path,
) -> None:
    events: list[Event] = []
    disk = FaultyDisk(DirectoryDisk(tmp_path))
    async with open_spool(
        tmp_path, run_blocking=inline, clock=lambda: ARRIVED, observer=events.append, disk=disk
    ) as spool:
        spool.is_kept = False
        disk.failing.add("remove")
    (trouble,) = events
    assert isinstance(trouble, Trouble)
    assert "cannot be removed" in trouble.what
    async with make(tmp_path) as spool:
        assert spool.is_empty
