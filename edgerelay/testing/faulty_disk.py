"""A disk that is full, broken or slow when a test says so, below SQLite and below contents.

faults = DatabaseFaults()
async with open_spool(path, connect=faults.connect, ...) as spool:
    faults.fail("COMMIT", sqlite3.SQLITE_IOERR)
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from errno import EIO
from os import strerror
from typing import Any

from edgerelay.spool.disk import ContentFile, Disk
from edgerelay.spool.schema import connect


def database_error(code: int) -> sqlite3.OperationalError:
    """An error as SQLite gives it; ``code`` is one of sqlite3.SQLITE_*."""
    error = sqlite3.OperationalError("the test says so")
    error.sqlite_errorcode = code
    error.sqlite_errorname = f"code {code}"
    return error


class DatabaseFaults:
    """Makes statements fail that begin with certain words, a number of times."""

    def __init__(self) -> None:
        self._faults: list[tuple[str, int, bool]] = []
        self.executed: list[str] = []

    def fail(self, beginning: str, code: int, *, times: int = 1, after: bool = False) -> None:
        """``after``: the statement is done, and its caller is told that it failed."""
        self._faults += [(beginning, code, after)] * times

    def heal(self) -> None:
        self._faults.clear()

    @property
    def are_over(self) -> bool:
        return not self._faults

    def connect(self, path: str) -> sqlite3.Connection:
        faults = self

        class Connection(sqlite3.Connection):
            def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
                fault = faults.take(sql)
                if fault is None:
                    return super().execute(sql, parameters)
                if fault[2]:
                    super().execute(sql, parameters)
                raise database_error(fault[1])

        return connect(path, Connection)

    def take(self, sql: str) -> tuple[str, int, bool] | None:
        self.executed.append(sql)
        for fault in self._faults:
            if sql.startswith(fault[0]):
                self._faults.remove(fault)
                return fault
        return None


class FaultyDisk:
    """Another disk, whose named operations fail with ``errno`` as long as they are listed.

    Names: "create", "write", "sync", "sync_directory", "read", "unlink", "free", "ballast",
    "remove".
    """

    def __init__(self, disk: Disk, errno: int = EIO) -> None:
        self.failing: set[str] = set()
        self.errno = errno
        self._disk = disk

    def check(self, operation: str) -> None:
        if operation in self.failing:
            raise OSError(self.errno, strerror(self.errno))

    def lock(self) -> None:
        self._disk.lock()

    def unlock(self) -> None:
        self._disk.unlock()

    def remove(self) -> bool:
        self.check("remove")
        return self._disk.remove()

    def create(self, name: str) -> ContentFile:
        self.check("create")
        return _FaultyFile(self, self._disk.create(name))

    def read(self, name: str, offset: int, length: int) -> bytes:
        self.check("read")
        return self._disk.read(name, offset, length)

    def unlink(self, name: str) -> None:
        self.check("unlink")
        self._disk.unlink(name)

    def names(self) -> Iterable[str]:
        return self._disk.names()

    def sync_directory(self) -> None:
        self.check("sync_directory")
        self._disk.sync_directory()

    def free(self) -> int:
        self.check("free")
        return self._disk.free()

    def wal_size(self) -> int:
        return self._disk.wal_size()

    @property
    def ballast(self) -> int:
        return self._disk.ballast

    def give_ballast(self) -> None:
        self._disk.give_ballast()

    def take_ballast(self, octets: int) -> None:
        self.check("ballast")
        self._disk.take_ballast(octets)


class _FaultyFile:
    def __init__(self, disk: FaultyDisk, file: ContentFile) -> None:
        self._disk = disk
        self._file = file

    def write(self, data: memoryview) -> None:
        self._disk.check("write")
        self._file.write(data)

    def sync(self) -> None:
        self._disk.check("sync")
        self._file.sync()

    def close(self) -> None:
        self._file.close()
