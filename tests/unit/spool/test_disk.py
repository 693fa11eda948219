"""The directory and its memory form do the same to files, room and ballast."""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgerelay.spool import SpoolLocked
from edgerelay.spool.disk import DirectoryDisk, Disk, MemoryDisk


@pytest.fixture(params=["directory", "memory"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Disk]:
    disk = DirectoryDisk(tmp_path / "shard") if request.param == "directory" else MemoryDisk()
    disk.lock()
    yield disk
    disk.unlock()


def test_a_file_is_written_read_and_unlinked(disk: Disk) -> None:
    file = disk.create("a")
    file.write(memoryview(b"hello "))
    file.write(memoryview(b"world"))
    file.sync()
    file.close()
    disk.sync_directory()
    assert list(disk.names()) == ["a"]
    assert disk.read("a", 6, 100) == b"world"
    assert disk.read("a", 100, 100) == b""
    disk.unlink("a")
    disk.unlink("a")
    assert list(disk.names()) == []
    with pytest.raises(FileNotFoundError):
        disk.read("a", 0, 1)


def test_ballast_is_taken_and_given_back(disk: Disk) -> None:
    had = [disk.ballast]
    for octets in (-1, 0, 65_536, 99_999, None, None):
        if octets is None:
            disk.give_ballast()
        else:
            disk.take_ballast(octets)
        had.append(disk.ballast)
    assert had == [0, 0, 0, 65_536, 65_536, 0, 0]
    assert disk.free() > 0
    assert disk.wal_size() == 0


def test_files_are_for_the_owner_alone(tmp_path: Path) -> None:
    disk = DirectoryDisk(tmp_path)
    disk.lock()
    disk.create("a").close()
    disk.take_ballast(65_536)
    modes = {"content": 0o700, "content/a": 0o600, "ballast": 0o600, "lock": 0o600}
    for name, mode in modes.items():
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == mode
    assert (tmp_path / "ballast").stat().st_blocks * 512 >= 65_536
    disk.unlock()
    again = DirectoryDisk(tmp_path)
    again.lock()
    assert again.ballast == 65_536
    again.unlock()


def test_ballast_that_does_not_fit_leaves_nothing(tmp_path: Path) -> None:
    disk = DirectoryDisk(tmp_path)
    disk.lock()
    with pytest.raises(OSError, match=r"."):
        disk.take_ballast(1 << 60)
    assert disk.ballast == 0
    assert sorted(os.listdir(tmp_path)) == ["content", "lock"]
    disk.unlock()


def test_the_log_is_measured(tmp_path: Path) -> None:
    (tmp_path / "spool.db-wal").write_bytes(b"x" * 10)
    assert DirectoryDisk(tmp_path).wal_size() == 10


def test_memory_fills_up() -> None:
    disk = MemoryDisk(room=10)
    file = disk.create("a")
    file.write(memoryview(b"x" * 8))
    with pytest.raises(OSError, match="No space"):
        file.write(memoryview(b"x" * 3))
    assert disk.free() == 2
    disk.unlink("a")
    assert disk.free() == 10


def test_a_shard_has_one_owner(disk: Disk) -> None:
    with pytest.raises(SpoolLocked):
        disk.lock()
    disk.unlock()
    disk.unlock()
    disk.lock()


def test_a_shard_that_is_removed_is_gone_with_all_that_was_in_it(tmp_path: Path) -> None:
    disk = DirectoryDisk(tmp_path / "shard")
    disk.lock()
    disk.create("a").close()
    disk.take_ballast(65_536)
    (tmp_path / "shard" / "spool.db").touch()
    assert disk.remove()
    disk.unlock()
    assert os.listdir(tmp_path) == []


def test_a_shard_whose_log_is_still_there_is_not_removed(tmp_path: Path) -> None:
    """What the log says of delivered messages, the database does not know yet."""
    disk = DirectoryDisk(tmp_path)
    disk.lock()
    (tmp_path / "spool.db").touch()
    (tmp_path / "spool.db-wal").touch()
    assert not disk.remove()
    assert (tmp_path / "spool.db").exists()
    disk.unlock()


def test_what_an_operator_keeps_in_a_shard_stays_when_it_is_removed(tmp_path: Path) -> None:
    disk = DirectoryDisk(tmp_path)
    disk.lock()
    (tmp_path / "notes").touch()
    assert disk.remove()
    disk.unlock()
    assert os.listdir(tmp_path) == ["notes"]


def test_a_lock_that_was_removed_before_we_had_it_is_not_taken_for_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between our open and our flock its owner may remove the shard, and another make it anew."""
    owner, other = DirectoryDisk(tmp_path / "0"), DirectoryDisk(tmp_path / "0")
    owner.lock()
    flock = fcntl.flock

    def flock_late(descriptor: int, how: int) -> None:
        monkeypatch.undo()
        owner.remove()
        owner.unlock()
        other.lock()
        flock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", flock_late)
    with pytest.raises(SpoolLocked):
        DirectoryDisk(tmp_path / "0").lock()
    other.unlock()
