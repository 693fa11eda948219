"""The directory and its memory form do the same to files, room and ballast."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from edgerelay.spool.disk import DirectoryDisk, Disk, MemoryDisk


@pytest.fixture(params=["directory", "memory"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Disk:
    return DirectoryDisk(tmp_path) if request.param == "directory" else MemoryDisk()


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
    disk.create("a").close()
    disk.take_ballast(65_536)
    for name, mode in (("content", 0o700), ("content/a", 0o600), ("ballast", 0o600)):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == mode
    assert (tmp_path / "ballast").stat().st_blocks * 512 >= 65_536
    assert DirectoryDisk(tmp_path).ballast == 65_536


def test_ballast_that_does_not_fit_leaves_nothing(tmp_path: Path) -> None:
    disk = DirectoryDisk(tmp_path)
    with pytest.raises(OSError, match=r"."):
        disk.take_ballast(1 << 60)
    assert disk.ballast == 0
    assert os.listdir(tmp_path) == ["content"]


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
