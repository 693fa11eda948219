"""Everything a shard does to its directory apart from SQLite: whose it is, content files, room.

The flock of the file `lock` is the proof of ownership, for the life of the process: never a
pid, never a heartbeat. `Disk` is the seam through which tests make a disk slow, full or broken.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable
from contextlib import suppress
from errno import ENOSPC
from pathlib import Path
from typing import Final, Protocol

from edgerelay.spool.api import SpoolLocked

#: A shard that is removed while it is being opened is made again; so often in a row only if
#: something else is wrong.
_TRIES: Final = 10


class ContentFile(Protocol):
    """A content file while it is written. Every method may raise OSError."""

    def write(self, data: memoryview) -> None: ...

    def sync(self) -> None:
        """Return when the data is on the disk."""

    def close(self) -> None: ...


class Disk(Protocol):
    """One shard's directory. Methods may raise OSError, and block as long as a disk does."""

    def lock(self) -> None:
        """Own it, making it if there is none. Raises `SpoolLocked` if another process does."""

    def unlock(self) -> None:
        """Own it no longer. Idempotent."""

    def remove(self) -> bool:
        """Remove the shard that we own and have closed. False: it is not quite closed.

        Then nothing was removed: its database alone may not say all that happened in it.
        """

    def create(self, name: str) -> ContentFile: ...

    def read(self, name: str, offset: int, length: int) -> bytes:
        """At most ``length`` octets; fewer only at the end."""

    def unlink(self, name: str) -> None:
        """Remove a content file; that it is gone already is no error."""

    def names(self) -> Iterable[str]:
        """Every content file there is."""

    def sync_directory(self) -> None:
        """Return when every created file's name is on the disk."""

    def free(self) -> int:
        """Octets the file system would give us."""

    def wal_size(self) -> int:
        """Octets of SQLite's write-ahead log."""

    @property
    def ballast(self) -> int:
        """Octets that are reserved at the moment."""

    def give_ballast(self) -> None:
        """Return the reserved room to the file system: deletes need it."""

    def take_ballast(self, octets: int) -> None:
        """Reserve room, unless some is reserved already."""


class _File:
    def __init__(self, path: Path) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        self._descriptor = os.open(path, flags, 0o600)

    def write(self, data: memoryview) -> None:
        while data:
            data = data[os.write(self._descriptor, data) :]

    def sync(self) -> None:
        os.fdatasync(self._descriptor)

    def close(self) -> None:
        os.close(self._descriptor)


class DirectoryDisk:
    """The real one: ``directory``/content/ and ``directory``/ballast."""

    def __init__(self, directory: Path) -> None:
        self.ballast = 0
        self._directory = directory
        self._contents = directory / "content"
        self._ballast = directory / "ballast"
        self._lock: int | None = None

    def lock(self) -> None:
        for _ in range(_TRIES):
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            with suppress(FileNotFoundError):
                descriptor = self._flock()
                if self._is_named(descriptor):
                    break
                os.close(descriptor)  # its last owner removed it before we had it
        else:
            raise SpoolLocked(f"{self._directory} is removed again and again")
        self._lock = descriptor
        self._directory.chmod(0o700)
        self._contents.mkdir(mode=0o700, exist_ok=True)
        self.ballast = self._ballast.stat().st_size if self._ballast.exists() else 0

    def _flock(self) -> int:
        descriptor = os.open(
            self._directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
        )
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(descriptor)
            raise SpoolLocked(f"{self._directory} is in use by another process") from error
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def _is_named(self, descriptor: int) -> bool:
        return os.path.samestat(os.fstat(descriptor), (self._directory / "lock").stat())

    def unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def remove(self) -> bool:
        database = self._directory / "spool.db"
        if database.with_name("spool.db-wal").exists():
            return False
        # First of all: without it there is no shard, whatever else is left by a crash.
        database.unlink(missing_ok=True)
        database.with_name("spool.db-shm").unlink(missing_ok=True)
        self.give_ballast()
        for name in self.names():
            self.unlink(name)
        self._contents.rmdir()
        (self._directory / "lock").unlink()
        with suppress(OSError):  # somebody keeps something of his own there
            self._directory.rmdir()
        return True

    def create(self, name: str) -> ContentFile:
        return _File(self._contents / name)

    def read(self, name: str, offset: int, length: int) -> bytes:
        # Opened for each piece: a reader that is abandoned half-way leaves nothing open.
        descriptor = os.open(self._contents / name, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.pread(descriptor, length, offset)
        finally:
            os.close(descriptor)

    def unlink(self, name: str) -> None:
        (self._contents / name).unlink(missing_ok=True)

    def names(self) -> Iterable[str]:
        return os.listdir(self._contents)  # noqa: PTH208  names, not paths

    def sync_directory(self) -> None:
        descriptor = os.open(self._contents, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def free(self) -> int:
        status = os.statvfs(self._directory)
        return status.f_bavail * status.f_frsize

    def wal_size(self) -> int:
        try:
            return (self._directory / "spool.db-wal").stat().st_size
        except FileNotFoundError:
            return 0

    def give_ballast(self) -> None:
        self._ballast.unlink(missing_ok=True)
        self.ballast = 0

    def take_ballast(self, octets: int) -> None:
        if self.ballast or octets <= 0:
            return
        descriptor = os.open(self._ballast, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, octets)
            self.ballast = octets
        except OSError:
            self._ballast.unlink(missing_ok=True)
            raise
        finally:
            os.close(descriptor)


class _MemoryFile:
    def __init__(self, disk: MemoryDisk, name: str) -> None:
        self._disk = disk
        self._data = disk.files.setdefault(name, bytearray())

    def write(self, data: memoryview) -> None:
        self._disk.spend(len(data))
        self._data += data

    def sync(self) -> None:
        pass

    def close(self) -> None:
        pass


class MemoryDisk:
    """Content files in memory, for virtual time. ``room`` is what the "disk" still holds."""

    def __init__(self, room: int = 1 << 40) -> None:
        self.is_locked = False
        self.room = room
        self.wal = 0
        self.ballast = 0
        self.files: dict[str, bytearray] = {}

    def spend(self, octets: int) -> None:
        if octets > self.room:
            raise OSError(ENOSPC, os.strerror(ENOSPC))
        self.room -= octets

    def lock(self) -> None:
        if self.is_locked:
            raise SpoolLocked("the shard in memory is in use")
        self.is_locked = True

    def unlock(self) -> None:
        self.is_locked = False

    def remove(self) -> bool:
        self.give_ballast()
        for name in self.names():
            self.unlink(name)
        return True

    def create(self, name: str) -> ContentFile:
        return _MemoryFile(self, name)

    def read(self, name: str, offset: int, length: int) -> bytes:
        if name not in self.files:
            raise FileNotFoundError(name)
        return bytes(self.files[name][offset : offset + length])

    def unlink(self, name: str) -> None:
        self.room += len(self.files.pop(name, b""))

    def names(self) -> Iterable[str]:
        return list(self.files)

    def sync_directory(self) -> None:
        pass

    def free(self) -> int:
        return self.room

    def wal_size(self) -> int:
        return self.wal

    def give_ballast(self) -> None:
        self.room += self.ballast
        self.ballast = 0

    def take_ballast(self, octets: int) -> None:
        if not self.ballast and octets > 0:
            self.spend(octets)
            self.ballast = octets
