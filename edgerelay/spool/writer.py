"""One transaction for everybody who waits, in few statements, inside one blocking call.

First all of it at once. If a row is refused, again with a savepoint around each caller's
share, so that only the bad one is left out. Each step of SQLite gives up Python's lock and
must win it back, which costs more than the step: so rows go in and out by the dozen.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from itertools import chain
from typing import Final

from edgerelay.spool.api import (
    Finish,
    Hold,
    PendingRecipient,
    Release,
    Reschedule,
    Split,
    SpoolError,
    SpoolFull,
    SpoolUnavailable,
)
from edgerelay.spool.disk import Disk
from edgerelay.spool.queue_ids import first_key, number_of_key
from edgerelay.spool.records import encode_recipients
from edgerelay.spool.schema import PAGE_SIZE, status_number
from edgerelay.spool.work import Insertion, Mark, Pause, Step, Work

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
_AT_ONCE: Final = 64  #: rows in one statement
_KNOWN: Final = 50_000  #: messages remembered as simple, about 100 octets each


class BrokenDatabase(Exception):
    """The database must be opened again. What was being written may or may not be there."""


@dataclass(frozen=True, slots=True)
class Totals:
    """What the spool holds; kept in its database by each transaction."""

    last_number: int = 0
    messages: int = 0
    octets: int = 0
    queued: int = 0
    held: int = 0


@cache
def _insert_sql(table: str, columns: int, rows: int) -> str:
    row = f"({','.join('?' * columns)})"
    return f"INSERT INTO {table} VALUES {','.join([row] * rows)}"  # noqa: S608  our own names


@cache
def _delete_sql(table: str, key: str, rows: int) -> str:
    return f"DELETE FROM {table} WHERE {key} IN ({','.join('?' * rows)})"  # noqa: S608  our own names


def _portion(left: int) -> int:
    """A power of two, so that few statements need to be prepared."""
    return min(_AT_ONCE, 1 << (left.bit_length() - 1))


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
        self.totals = totals
        self.free_pages = 0
        self._connection = connection
        self._execute = connection.execute
        self._disk = disk
        self._epoch = epoch
        self._marked = marked  #: keys with a row in table mark
        # Messages of one queued delivery with their content in the database, and its size:
        # what is known of them need not be asked. Forgetting one only costs questions.
        self._known: dict[int, int] = {}
        self._next = totals
        self._finished: list[int] = []
        self._finished_octets = 0
        self._unlinks: list[str] = []

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

    def vacuum(self, pages: int) -> None:
        """Return free pages to the file system, and with the log theirs too."""
        self._execute(f"PRAGMA incremental_vacuum({pages:d})").fetchall()
        self._measure()

    def close(self) -> None:
        """Note that everything was in order. Raises sqlite3.Error."""
        self._execute("BEGIN IMMEDIATE")
        self._execute("UPDATE mark SET standing = 0 WHERE standing <> 0")
        self._execute("UPDATE state SET clean = 1")
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
        self._known.clear()  # it may know what never came to be
        self._forget_finished()
        if self._connection.in_transaction:  # some errors roll back by themselves
            with suppress(sqlite3.Error):
                self._execute("ROLLBACK")

    def _transaction(self, batch: Sequence[Work], carefully: bool) -> None:
        self._next = self.totals
        self._unlinks = []
        self._execute("BEGIN IMMEDIATE")
        if carefully:
            for work in batch:
                self._savepoint(work)
        else:
            self._insert([each for work in batch for each in work.insertions])
            for work in batch:
                for step in work.steps:
                    self._apply(step)
            self._flush_finished()
        totals = self._next
        if totals != self.totals:
            self._execute(
                "UPDATE state SET last_number=?, messages=?, octets=?, queued=?, held=?",
                (totals.last_number, totals.messages, totals.octets, totals.queued, totals.held),
            )
        self._execute("COMMIT")
        self.totals = totals
        for name in self._unlinks:
            with suppress(OSError):  # the next start sweeps it
                self._disk.unlink(name)

    def _savepoint(self, work: Work) -> None:
        before, unlinks = self._next, len(self._unlinks)
        self._execute("SAVEPOINT one")
        try:
            self._insert(work.insertions)
            for step in work.steps:
                self._apply(step)
            self._flush_finished()
        except _BAD_ROW as error:
            self._execute("ROLLBACK TO one")
            self._known.clear()
            self._forget_finished()
            self._next = before
            del self._unlinks[unlinks:]
            work.error = SpoolUnavailable(f"row refused: {error}")
            work.is_bad = True
        self._execute("RELEASE one")

    def _insert(self, insertions: Sequence[Insertion]) -> None:
        if not insertions:
            return
        deliveries = [row for each in insertions for row in each.delivery_rows(self._epoch)]
        self._insert_rows("message", 8, [each.message_row() for each in insertions])
        self._insert_rows("delivery", 10, deliveries)
        self._insert_rows(
            "body", 2, [(each.number, each.data) for each in insertions if each.data is not None]
        )
        before = self._next
        held = sum(row[2] != 0 for row in deliveries)
        self._next = Totals(
            max(before.last_number, *(each.number for each in insertions)),
            before.messages + len(insertions),
            before.octets + sum(each.content.size for each in insertions),
            before.queued + len(deliveries) - held,
            before.held + held,
        )
        if len(self._known) < _KNOWN:
            for each in insertions:
                if each.is_simple:
                    self._known[each.number] = each.content.size

    def _insert_rows(self, table: str, columns: int, rows: Sequence[tuple[object, ...]]) -> None:
        start = 0
        while left := len(rows) - start:
            size = _portion(left)
            portion = list(chain.from_iterable(rows[start : start + size]))
            self._execute(_insert_sql(table, columns, size), portion)
            start += size

    def _delete_rows(self, table: str, key: str, keys: Sequence[int]) -> None:
        start = 0
        while left := len(keys) - start:
            size = _portion(left)
            self._execute(_delete_sql(table, key, size), keys[start : start + size])
            start += size

    def _apply(self, step: Step) -> None:
        if isinstance(step, Finish):
            if number_of_key(step.key) in self._known and step.key not in self._marked:
                self._finished.append(step.key)
                self._finished_octets += self._known.pop(number_of_key(step.key))
                return
            self._flush_finished()
            self._finish(step.key)
        else:
            self._flush_finished()  # what comes after a Finish sees that it has happened
            self._change(step)

    def _change(self, step: Reschedule | Hold | Release | Split | Mark | Pause) -> None:
        match step:
            case Reschedule():
                self._reschedule(step)
            case Hold():
                self._hold(step)
            case Release():
                self._release(step)
            case Split():
                self._split(step)
            case Mark(key):
                self._execute(
                    "INSERT INTO mark SELECT key, 1, 0 FROM delivery WHERE key=? "
                    "ON CONFLICT (key) DO UPDATE SET standing = 1",
                    (key,),
                )
                self._marked.add(key)
            case Pause(lane, not_before, failures):
                self._execute("DELETE FROM pause WHERE lane=?", (lane,))
                if (not_before, failures) != (0, 0):
                    self._execute("INSERT INTO pause VALUES (?,?,?)", (lane, not_before, failures))

    def _flush_finished(self) -> None:
        if self._finished:
            numbers = [number_of_key(key) for key in self._finished]
            self._delete_rows("delivery", "key", self._finished)
            self._delete_rows("message", "id", numbers)
            self._delete_rows("body", "id", numbers)
            count = len(numbers)
            self._count(messages=-count, octets=-self._finished_octets, queued=-count)
            self._forget_finished()

    def _forget_finished(self) -> None:
        self._finished.clear()
        self._finished_octets = 0

    def _finish(self, key: int) -> None:
        """Forget a delivery of which nothing is known; the message goes with its last one."""
        number = number_of_key(key)
        self._known.pop(number, None)
        self._unmark(key)
        row = self._execute("SELECT status FROM delivery WHERE key=?", (key,)).fetchone()
        if row is None:
            return
        self._execute("DELETE FROM delivery WHERE key=?", (key,))
        self._count(held=-1) if row[0] else self._count(queued=-1)
        siblings = self._execute(
            "SELECT 1 FROM delivery WHERE key >= ? AND key < ? LIMIT 1",
            (first_key(number), first_key(number + 1)),
        ).fetchone()
        if siblings is None:
            self._forget_message(number)

    def _forget_message(self, number: int) -> None:
        row = self._execute("SELECT size, file FROM message WHERE id=?", (number,)).fetchone()
        if row is not None:
            self._execute("DELETE FROM message WHERE id=?", (number,))
            self._execute("DELETE FROM body WHERE id=?", (number,))
            size, name = row
            self._count(messages=-1, octets=-size if isinstance(size, int) else 0)
            if isinstance(name, bytes):
                self._unlinks.append(name.decode(errors="replace"))

    def _reschedule(self, step: Reschedule) -> None:
        # The status stays: an operator may have held it while it was being tried.
        self._unmark(step.key)
        self._execute(
            "UPDATE delivery SET due=?, attempts=?, warned=?, recipients=?, "
            "lane=coalesce(?, lane), epoch=? WHERE key=?",
            (
                step.due,
                step.attempts,
                step.warned,
                _recipients_text(step.recipients),
                step.lane,
                self._epoch,
                step.key,
            ),
        )

    def _hold(self, step: Hold) -> None:
        self._known.pop(number_of_key(step.key), None)
        self._unmark(step.key)
        recipients = None if step.recipients is None else _recipients_text(step.recipients)
        sql = (
            "UPDATE delivery SET status=1, reason=?, recipients=coalesce(?, recipients), epoch=? "
            "WHERE key=? AND status=?"
        )
        values = (step.reason, recipients, self._epoch, step.key)
        # First those held already: the second statement makes more of them.
        self._execute(sql, (*values, 1))
        count = self._execute(sql, (*values, 0)).rowcount
        self._count(queued=-count, held=count)

    def _release(self, step: Release) -> None:
        self._unmark(step.key)
        sql = "UPDATE delivery SET status=0, reason='', due=?, epoch=? WHERE key=? AND status=?"
        values = (step.due, self._epoch, step.key)
        self._execute(sql, (*values, 0))
        count = self._execute(sql, (*values, 1)).rowcount
        self._count(queued=count, held=-count)

    def _split(self, step: Split) -> None:
        number = number_of_key(step.key)
        self._known.pop(number, None)
        self._unmark(step.key)
        row = self._execute(
            "DELETE FROM delivery WHERE key=? RETURNING status, arrived, warned, attempts",
            (step.key,),
        ).fetchone()
        if row is None:
            return
        status, arrived, warned, attempts = row
        last = self._execute(
            "SELECT max(key) FROM delivery WHERE key >= ? AND key < ?",
            (first_key(number), first_key(number + 1)),
        ).fetchone()[0]
        key = max(step.key, last or 0)
        if number_of_key(key + len(step.into)) != number:
            raise OverflowError("a message has no keys left for deliveries")
        rows = [
            (
                key + index,
                new.lane,
                status_number(new.status),
                step.due,
                arrived,
                warned,
                attempts,
                self._epoch,
                new.reason,
                encode_recipients(PendingRecipient(each) for each in new.recipients),
            )
            for index, new in enumerate(step.into, 1)
        ]
        self._insert_rows("delivery", 10, rows)
        held = sum(row[2] for row in rows)
        self._count(queued=len(rows) - held - (not status), held=held - bool(status))

    def _unmark(self, key: int) -> None:
        if key in self._marked:
            # Stays in `_marked` if this is rolled back; then it is deleted once more, in vain.
            self._execute("DELETE FROM mark WHERE key=?", (key,))

    def _count(
        self, *, messages: int = 0, octets: int = 0, queued: int = 0, held: int = 0
    ) -> None:
        before = self._next
        self._next = replace(
            before,
            messages=before.messages + messages,
            octets=before.octets + octets,
            queued=before.queued + queued,
            held=before.held + held,
        )

    def _measure(self) -> None:
        self.free_pages = self._execute("PRAGMA freelist_count").fetchone()[0]

    @property
    def free_octets(self) -> int:
        """Of pages inside the database that new rows will use first."""
        return self.free_pages * PAGE_SIZE


def _recipients_text(recipients: Iterable[PendingRecipient]) -> str:
    try:
        return encode_recipients(recipients)
    except UnicodeError:
        # What a peer said may be left out; whom it was said of may not.
        return encode_recipients(replace(each, last_reply="") for each in recipients)


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
