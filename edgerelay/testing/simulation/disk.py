"""Disks that fail: what was not synced is lost with the power, and any operation may be the last.

A `Platter` is what of one shard outlives its owners. An owner works on copies of it: SQLite in
memory, whose image becomes the platter's when a COMMIT has synced, and content files whose
octets and names become durable by their syncs.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass, field
from errno import EIO, ENOSPC
from os import strerror
from typing import Any, Final, Protocol

from edgerelay.spool.api import SpoolLocked
from edgerelay.spool.schema import connect
from edgerelay.testing.faulty_disk import database_error
from edgerelay.testing.simulation.faults import Faults

_WRITES: Final = ("BEGIN", "COMMIT", "INSERT", "UPDATE", "DELETE")


class Powered(Protocol):
    """The process that uses a disk, and may die of doing so."""

    is_alive: bool
    faults: Faults

    def comes_to_an_end_here(self) -> bool:
        """One more operation: is it the last? If so the process is dead by now."""

    @property
    def is_full(self) -> bool: ...

    def note(self, text: str) -> None:
        """Into the log of the run."""


@dataclass(eq=False)
class Platter:
    name: str
    image: bytes | None = None
    files: dict[str, bytes] = field(default_factory=dict)
    owner: Powered | None = None
    is_removed: bool = False


class SimulatedDisk:
    """Implements `edgerelay.spool.disk.Disk` over a platter, for one process."""

    def __init__(self, platter: Platter, process: Powered) -> None:
        self.ballast = 0
        self.platter = platter
        self.process = process
        self._volatile: dict[str, _File] = {}  # written or named since the last syncs
        self._unlinked: dict[str, bytes] = {}  # whose unlinking is not synced
        self._is_ours = False
        self._unsynced: bytes | None = None  # an image that a COMMIT did not sync

    def operation(self, kind: str, chance: float = 0.003) -> None:
        """Before an operation takes effect. Raises OSError."""
        if not self.process.is_alive or self.process.comes_to_an_end_here():
            raise OSError(EIO, "the power is off")
        if self.process.is_full and kind in ("create", "write"):
            self.process.faults.happened("disk full")
            raise OSError(ENOSPC, strerror(ENOSPC))
        if self.process.faults.strike(f"disk error: {kind}", chance):
            raise OSError(EIO, strerror(EIO))

    # -- whose it is -----------------------------------------------------------------------

    def lock(self) -> None:
        if self.platter.owner is not None or self.platter.is_removed:
            raise SpoolLocked(f"{self.platter.name} is in use by another process, or gone")
        self.platter.owner, self._is_ours = self.process, True
        self.process.note(f"owns {self.platter.name}")

    def unlock(self) -> None:
        if self._is_ours and self.platter.owner is self.process:
            self.platter.owner = None
            self.platter.image = self._unsynced or self.platter.image  # the kernel will, some day
            self.process.note(f"owns {self.platter.name} no more")
        self._is_ours = False

    def remove(self) -> bool:
        self.operation("remove")
        self.process.note(f"removes {self.platter.name}")
        self.platter.is_removed = True
        self.platter.image, self.platter.files = None, {}
        return True

    def power_off(self, loses_power: bool) -> None:
        """The process is gone. If the power was, what was not synced is lost, or there in part."""
        random = self.process.faults.random
        if not loses_power:
            self.platter.image = self._unsynced or self.platter.image
            self.platter.files |= {name: bytes(f.data) for name, f in self._volatile.items()}
            self._volatile.clear()
            self._unlinked.clear()
        for name, file in self._volatile.items():
            if file.is_named or random.random() < 0.5:
                kept = random.randint(file.synced, len(file.data))
                self.platter.files[name] = bytes(file.data[:kept])
        for name, data in self._unlinked.items():
            if random.random() < 0.5:
                self.platter.files[name] = data
        self._volatile.clear()
        self._unlinked.clear()

    # -- content files ---------------------------------------------------------------------

    def create(self, name: str) -> _File:
        self.operation("create")
        self._volatile[name] = file = _File(self)
        return file

    def read(self, name: str, offset: int, length: int) -> bytes:
        self.operation("read", 0.0)
        file = self._volatile.get(name)
        data = self.platter.files.get(name) if file is None else bytes(file.data)
        if data is None:
            raise FileNotFoundError(name)
        return data[offset : offset + length]

    def unlink(self, name: str) -> None:
        self.operation("unlink")
        self._volatile.pop(name, None)
        if name in self.platter.files:
            self._unlinked[name] = self.platter.files.pop(name)

    def names(self) -> Iterable[str]:
        self.operation("list", 0.0)
        return {*self.platter.files, *self._volatile}

    def sync_directory(self) -> None:
        self.operation("sync directory")
        self._unlinked.clear()
        for name, file in list(self._volatile.items()):
            file.is_named = True
            self._settle(name, file)

    def synced(self, file: _File) -> None:
        name = next(name for name, each in self._volatile.items() if each is file)
        self._settle(name, file)

    def _settle(self, name: str, file: _File) -> None:
        if file.is_named and file.synced == len(file.data):
            self.platter.files[name] = bytes(file.data)
            del self._volatile[name]

    # -- room ------------------------------------------------------------------------------

    def free(self) -> int:
        return 0 if self.process.is_full else 1 << 40

    def wal_size(self) -> int:
        return 0

    def give_ballast(self) -> None:
        self.ballast = 0

    def take_ballast(self, octets: int) -> None:
        pass  # room is there or not: see `free`

    # -- the database ----------------------------------------------------------------------

    def connect(self, _path: str) -> sqlite3.Connection:
        """The seam of `open_spool`: a database in memory that begins as the platter has it."""
        self.operation("open", 0.0)
        return connect(":memory:", _connection_to(self))

    def before(self, sql: str) -> None:
        """A statement that writes is about to. Raises sqlite3.OperationalError."""
        verb = sql[:6].rstrip()
        try:
            self.operation(f"sqlite {verb}", 0.002)
        except OSError as error:
            raise database_error(sqlite3.SQLITE_IOERR) from error
        if self.process.is_full and verb in ("INSERT", "COMMIT"):
            self.process.faults.happened("disk full")
            raise database_error(sqlite3.SQLITE_FULL)

    def after_commit(self, image: bytes, *, is_synced: bool) -> None:
        """It is done; whether the one who asked learns of it is another matter."""
        if is_synced:
            self.platter.image, self._unsynced = image, None
        else:
            self._unsynced = image
        if self.process.comes_to_an_end_here():
            raise database_error(sqlite3.SQLITE_IOERR)
        if self.process.faults.strike("disk error: after a COMMIT", 0.003):
            raise database_error(sqlite3.SQLITE_IOERR)


class _File:
    """Implements `edgerelay.spool.disk.ContentFile`."""

    def __init__(self, disk: SimulatedDisk) -> None:
        self.data = bytearray()
        self.synced = 0
        self.is_named = False
        self._disk = disk

    def write(self, data: memoryview) -> None:
        try:
            self._disk.operation("write")
        except OSError:
            self.data += data[: self._disk.process.faults.random.randint(0, len(data))]
            raise
        self.data += data

    def sync(self) -> None:
        self._disk.operation("sync")
        self.synced = len(self.data)
        self._disk.synced(self)

    def close(self) -> None:
        pass


def _connection_to(disk: SimulatedDisk) -> type[sqlite3.Connection]:
    class Connection(sqlite3.Connection):
        syncs = False  # as the program asks for, and SQLite does not do by itself

        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            if disk.platter.image is not None:
                self.deserialize(disk.platter.image)

        def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
            if sql.startswith("PRAGMA synchronous="):
                self.syncs = sql.endswith("=FULL")
            if not sql.startswith(_WRITES):
                return super().execute(sql, parameters)
            disk.before(sql)
            done = super().execute(sql, parameters)
            if sql.startswith("COMMIT"):
                disk.after_commit(self.serialize(), is_synced=self.syncs)
            return done

        def executescript(self, sql: str, /) -> sqlite3.Cursor:
            disk.before("COMMIT")
            done = super().executescript(sql)
            disk.after_commit(self.serialize(), is_synced=True)
            return done

    return Connection
