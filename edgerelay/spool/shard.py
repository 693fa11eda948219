"""One shard that we own: its database, opened, opened again, closed. Every method blocks."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from edgerelay.runtime import Clock
from edgerelay.spool.api import SpoolError, SpoolFull, SpoolUnavailable
from edgerelay.spool.disk import Disk
from edgerelay.spool.queue_ids import QueueIds
from edgerelay.spool.reader import Reader
from edgerelay.spool.recovery import Recovered, SetAside, recover
from edgerelay.spool.schema import Connect, database_file, log_pages, open_or_create, prepare
from edgerelay.spool.space import ballast_for
from edgerelay.spool.writer import Writer


class Shard:
    """``directory`` None: a database in memory. Unless it ``lasts``, it is not opened again."""

    def __init__(
        self,
        directory: Path | None,
        disk: Disk,
        clock: Clock,
        connect: Connect,
        tag: int,
        ballast: int,
        *,
        lasts: bool,
    ) -> None:
        self.disk = disk
        self.writer: Writer | None = None  #: None: the database is not to be had
        self.reader: Reader | None = None
        self._directory = directory
        self._clock = clock
        self._connect = connect
        self._tag = tag
        self._ballast = ballast
        self._lasts = lasts
        self._connections: list[sqlite3.Connection] = []
        self._ids: QueueIds | None = None

    @property
    def ids(self) -> QueueIds:
        assert self._ids is not None, "not opened"  # noqa: S101  narrows the type
        return self._ids

    def open(self) -> Recovered:
        """Recover and own it. Raises `SpoolError`."""
        with suppress(OSError):
            self.disk.take_ballast(ballast_for(self.disk.free(), self._ballast))
        try:
            recovered = self._open()
        except sqlite3.OperationalError as error:
            self._disconnect()
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_FULL:
                raise SpoolUnavailable(f"database: {error}") from error
            recovered = self._open_when_full()
        except (sqlite3.Error, OSError) as error:
            self._disconnect()
            raise SpoolUnavailable(f"database: {error}") from error
        except SpoolError:
            self._disconnect()
            raise
        return recovered

    def reopen(self, live: Collection[str], purge: Collection[int]) -> list[SetAside]:
        """After a disk error: close everything, recover. Raises `SpoolUnavailable`."""
        self._disconnect()
        if not self._lasts:
            raise SpoolUnavailable("a database in memory is gone when it is closed")
        try:
            return self._open(again=True, live=live, purge=purge).set_aside
        except (sqlite3.Error, OSError) as error:
            self._disconnect()
            raise SpoolUnavailable(f"database: {error}") from error

    def close(self) -> None:
        """Leave it in order, if the disk lets us."""
        if self.writer is not None:
            with suppress(sqlite3.Error):
                self.writer.close(self.ids.last)
        self._disconnect()

    def _open_when_full(self) -> Recovered:
        self.disk.give_ballast()
        try:
            return self._open()
        except (sqlite3.Error, OSError) as error:
            self._disconnect()
            raise SpoolFull(f"database: {error}") from error

    def _open(
        self, *, again: bool = False, live: Collection[str] = (), purge: Collection[int] = ()
    ) -> Recovered:
        writing = self._connection()
        open_or_create(writing, self._tag)
        prepare(writing, log_pages(self.disk.ballast))
        recovered = recover(writing, self.disk, self._clock(), again=again, live=live, purge=purge)
        if self._directory is None:
            reading = writing
        else:
            reading = self._connection()
            prepare(reading)
        if self._ids is None:
            self._ids = QueueIds(self._clock, recovered.tag, recovered.last_number)
        self.writer = Writer(
            writing, self.disk, recovered.epoch, recovered.totals, recovered.marked
        )
        self.reader = Reader(reading, self._ids, recovered.suspects)
        return recovered

    def _connection(self) -> sqlite3.Connection:
        if self._directory is None:
            path = ":memory:"
        else:
            file = database_file(self._directory)
            # SQLite would use our umask; its log takes the mode of the database.
            os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            path = str(file)
        connection = self._connect(path)
        self._connections.append(connection)
        return connection

    def _disconnect(self) -> None:
        self.writer = None
        self.reader = None
        while self._connections:
            with suppress(sqlite3.Error):
                self._connections.pop().close()
