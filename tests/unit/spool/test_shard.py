"""A shard has one owner, is its alone to read, and refuses what it cannot be."""

from __future__ import annotations

import sqlite3
import stat
from pathlib import Path

import pytest

from edgerelay.runtime import inline
from edgerelay.spool import SpoolLocked, SpoolTooNew, open_spool
from edgerelay.spool.api import SpoolError, SpoolUnavailable
from edgerelay.testing.check_spool import ARRIVED, due, new_message


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
