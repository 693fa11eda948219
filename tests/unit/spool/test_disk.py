"""The directory and its memory form do the same to files, room and ballast."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from edgerelay.spool.disk import DirectoryDisk, Disk, MemoryDisk


@pytest.fixture(params=["directory", "memory"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Disk:
    return DirectoryDisk(tmp_path, 65_536) if request.param == "directory" else MemoryDisk()


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
    steps = [disk.take_ballast, disk.take_ballast, disk.give_ballast, disk.give_ballast]
    had = [disk.has_ballast]
    for step in steps:
        step()
        had.append(disk.has_ballast)
    assert had == [False, True, True, False, False]
    assert disk.free() > 0
    assert disk.wal_size() == 0


def test_files_are_for_the_owner_alone(tmp_path: Path) -> None:
    disk = DirectoryDisk(tmp_path, 65_536)
    disk.create("a").close()
    disk.take_ballast()
    for name, mode in (("content", 0o700), ("content/a", 0o600), ("ballast", 0o600)):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == mode
    assert (tmp_path / "ballast").stat().st_blocks * 512 >= 65_536


def test_ballast_that_does_not_fit_leaves_nothing(tmp_path: Path) -> None:
    disk = DirectoryDisk(tmp_path, 1 << 60)
    with pytest.raises(OSError, match=r"."):
        disk.take_ballast()
    assert not disk.has_ballast
    assert os.listdir(tmp_path) == ["content"]


def test_no_ballast_is_a_choice(tmp_path: Path) -> None:
    disk = DirectoryDisk(tmp_path, 0)
    disk.take_ballast()
    assert not disk.has_ballast


def test_the_log_is_measured(tmp_path: Path) -> None:
    (tmp_path / "spool.db-wal").write_bytes(b"x" * 10)
    assert DirectoryDisk(tmp_path, 0).wal_size() == 10


def test_memory_fills_up() -> None:
    disk = MemoryDisk(room=10)
    file = disk.create("a")
    file.write(memoryview(b"x" * 8))
    with pytest.raises(OSError, match="No space"):
        file.write(memoryview(b"x" * 3))
    assert disk.free() == 2
    disk.unlink("a")
    assert disk.free() == 10
