"""One transaction for everybody who waits, in few statements, inside one blocking call.

First all of it at once. If a row is refused, again with a savepoint around each caller's
share, so that only the bad one is left out.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import chain
from typing import Final

from edgerelay.spool.api import (
    SpoolError,
    SpoolFull,
    SpoolUnavailable,
)
from edgerelay.spool.disk import Disk
from edgerelay.spool.rows import Rows, Totals
from edgerelay.spool.schema import PAGE_SIZE, log_pages
from edgerelay.spool.work import Work

#: What is wrong with a row, not with the database.
_BAD_ROW: Final = (
    sqlite3.IntegrityError,
    sqlite3.DataError,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
    OverflowError,
    UnicodeError,
)
_PASSING: Final = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_NOMEM})


class BrokenDatabase(Exception):
    """The database must be opened again. What was being written may or may not be there."""


class Writer:
    """Owns the writing connection; used by one thread at a time."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        disk: Disk,
        epoch: int,
        totals: Totals,
        marked: set[int],
    ) -> None:
        self.totals = totals  #: of what is durable
        self.free_pages = 0
        self._connection = connection
        self._execute = connection.execute
        self._disk = disk
        self._rows = Rows(connection, epoch, totals, marked)

    def write(self, batch: Sequence[Work]) -> None:
        """Make durable what can be; the others' ``error`` says why not.

        Raises `BrokenDatabase`. Blocks for a disk's sync at least.
        """
        try:
            left: Sequence[Work] = _seal(batch)
            relief = iter((self.checkpoint, self._spend_ballast))
            carefully = False
            while left:
                try:
                    self._transaction(left, carefully)
                    break
                except _BAD_ROW as error:
                    self._rollback()
                    if carefully:
                        raise BrokenDatabase(str(error)) from error
                    carefully = True
                except sqlite3.DatabaseError as error:
                    self._rollback()
                    left = self._relieve(left, error, relief)
            self._measure()
        except BrokenDatabase:
            raise
        except Exception as error:
            self._rollback()
            raise BrokenDatabase(f"{type(error).__name__}: {error}") from error

    def has(self, number: int) -> bool:
        """Whether the message is there."""
        row = self._execute("SELECT 1 FROM message WHERE id=?", (number,)).fetchone()
        return row is not None

    def checkpoint(self) -> None:
        """Move what the log holds into the database and empty the log, if nobody reads it."""
        with suppress(sqlite3.OperationalError):  # a full disk: the log stays as it is
            self._execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def _spend_ballast(self) -> None:
        """Without it the log cannot grow, nor can the database take in what the log holds."""
        self._disk.give_ballast()
        self.checkpoint()

    def take_ballast(self, octets: int) -> None:
        """Reserve room, and let the log grow as that allows. Raises OSError, sqlite3.Error."""
        self._disk.give_ballast()  # what is too little to be of use
        self._disk.take_ballast(octets)
        self._execute(f"PRAGMA wal_autocheckpoint={log_pages(octets):d}")

    def vacuum(self, pages: int) -> None:
        """Return free pages to the file system, and with the log theirs too."""
        self._execute(f"PRAGMA incremental_vacuum({pages:d})").fetchall()
        self._measure()

    def close(self, last_number: int) -> None:
        """Note that everything was in order, and which numbers were given, used or not.

        Raises sqlite3.Error.
        """
        self._execute("BEGIN IMMEDIATE")
        self._execute("UPDATE mark SET standing = 0 WHERE standing <> 0")
        self._execute(
            "UPDATE state SET clean = 1, last_number = max(last_number, ?)", (last_number,)
        )
        self._execute("COMMIT")
        self.checkpoint()

    def _relieve(
        self,
        batch: Sequence[Work],
        error: sqlite3.DatabaseError,
        relief: Iterator[Callable[[], None]],
    ) -> Sequence[Work]:
        """After a failure of the whole, say who must go without; return who may try again."""
        code = error.sqlite_errorcode & 0xFF
        if code in _PASSING:
            return _refuse(batch, SpoolUnavailable(f"database: {error}"))
        if code != sqlite3.SQLITE_FULL:
            raise BrokenDatabase(f"{error} ({error.sqlite_errorname})") from error
        _refuse([work for work in batch if work.is_mail], SpoolFull(f"database: {error}"))
        left = [work for work in batch if not work.is_mail]
        step = next(relief, None)
        if step is None:
            return _refuse(left, SpoolFull(f"database: {error}"))
        step()
        return left

    def _rollback(self) -> None:
        self._rows.forget(self.totals)
        if self._connection.in_transaction:  # some errors roll back by themselves
            with suppress(sqlite3.Error):
                self._execute("ROLLBACK")

    def _transaction(self, batch: Sequence[Work], carefully: bool) -> None:
        rows = self._rows
        rows.unlinks = []
        self._execute("BEGIN IMMEDIATE")
        if carefully:
            for work in batch:
                self._savepoint(work)
        else:
            rows.do(
                [each for work in batch for each in work.insertions],
                chain.from_iterable(work.steps for work in batch),
            )
        totals = rows.totals
        if totals != self.totals:
            self._execute(
                "UPDATE state SET last_number=?, messages=?, octets=?, queued=?, held=?",
                (totals.last_number, totals.messages, totals.octets, totals.queued, totals.held),
            )
        self._execute("COMMIT")
        self.totals = totals
        for name in rows.unlinks:
            with suppress(OSError):  # the next start sweeps it
                self._disk.unlink(name)

    def _savepoint(self, work: Work) -> None:
        before, unlinks = self._rows.totals, len(self._rows.unlinks)
        self._execute("SAVEPOINT one")
        try:
            self._rows.do(work.insertions, work.steps)
        except _BAD_ROW as error:
            self._execute("ROLLBACK TO one")
            self._rows.forget(before)
            del self._rows.unlinks[unlinks:]
            work.error = SpoolUnavailable(f"row refused: {error}")
            work.is_bad = True
        self._execute("RELEASE one")

    def _measure(self) -> None:
        self.free_pages = self._execute("PRAGMA freelist_count").fetchone()[0]

    @property
    def free_octets(self) -> int:
        """Of pages inside the database that new rows will use first."""
        return self.free_pages * PAGE_SIZE


def _seal(batch: Sequence[Work]) -> list[Work]:
    """Put content files on the disk that are not yet; return the works that may go on."""
    for work in batch:
        try:
            for insertion in work.insertions:
                if insertion.content.needs_seal:
                    insertion.content.seal()
        except SpoolError as error:
            work.error = error
            work.is_bad = True
    return [work for work in batch if work.error is None]


def _refuse(batch: Iterable[Work], error: SpoolError) -> list[Work]:
    for work in batch:
        work.error = error
    return []
