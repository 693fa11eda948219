"""What a transaction does to rows, and the count of what the spool holds then.

Each step of SQLite gives up Python's lock and must win it back, which costs more than the
step: so rows go in and out by the dozen.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import chain
from typing import Final

from edgerelay.spool.api import Finish, Hold, PendingRecipient, Release, Reschedule, Split
from edgerelay.spool.queue_ids import first_key, number_of_key
from edgerelay.spool.records import encode_recipients
from edgerelay.spool.schema import status_number
from edgerelay.spool.work import Insertion, Mark, Pause, Step

_AT_ONCE: Final = 64  #: rows in one statement
_EXACT: Final = 16  #: up to so many rows have a statement of just their number
_KNOWN: Final = 50_000  #: messages remembered as simple, about 100 octets each


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
    # OR FAIL: a refused row leaves those before it, which the transaction or savepoint around
    # takes back. Otherwise SQLite would keep a journal for the statement alone, in a file.
    row = f"({','.join('?' * columns)})"
    return f"INSERT OR FAIL INTO {table} VALUES {','.join([row] * rows)}"  # noqa: S608  our own names


@cache
def _delete_sql(table: str, key: str, rows: int) -> str:
    return f"DELETE FROM {table} WHERE {key} IN ({','.join('?' * rows)})"  # noqa: S608  our own names


def _portion(left: int) -> int:
    """All of a usual batch; of a larger one a power of two, so that few statements need to be
    prepared."""
    return left if left <= _EXACT else min(_AT_ONCE, 1 << (left.bit_length() - 1))


class Rows:
    """The rows of one shard, inside a transaction that somebody else begins and ends.

    Raises sqlite3.Error, UnicodeError, OverflowError; then `forget` must follow.
    """

    def __init__(
        self, connection: sqlite3.Connection, epoch: int, totals: Totals, marked: set[int]
    ) -> None:
        self.totals = totals  #: as they will be once the transaction is committed
        self.unlinks: list[str] = []  #: files whose messages are gone then
        self._execute = connection.execute
        self._epoch = epoch
        self._marked = marked  #: keys with a row in table mark
        # Messages of one queued delivery with their content in the database, and its size:
        # what is known of them need not be asked. Forgetting one only costs questions.
        self._known: dict[int, int] = {}
        self._finished: list[int] = []
        self._finished_octets = 0

    def do(self, insertions: Sequence[Insertion], steps: Iterable[Step]) -> None:
        """Insert messages, then take the steps in their order."""
        self._insert(insertions)
        for step in steps:
            self._apply(step)
        self._flush()

    def forget(self, totals: Totals) -> None:
        """What was done is undone by a rollback, back to ``totals``."""
        self.totals = totals
        self._known.clear()  # it may know what never came to be
        self._forget_finished()

    def _insert(self, insertions: Sequence[Insertion]) -> None:
        if not insertions:
            return
        deliveries = [row for each in insertions for row in each.delivery_rows(self._epoch)]
        self._insert_rows("message", 8, [each.message_row() for each in insertions])
        self._insert_rows("delivery", 10, deliveries)
        self._insert_rows(
            "body", 2, [(each.number, each.data) for each in insertions if each.data is not None]
        )
        before = self.totals
        held = sum(row[2] != 0 for row in deliveries)
        self.totals = Totals(
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
            self._flush()
            self._finish(step.key)
        else:
            self._flush()  # what comes after a Finish sees that it has happened
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

    def _flush(self) -> None:
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
                self.unlinks.append(name.decode(errors="replace"))

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
        before = self.totals
        self.totals = replace(
            before,
            messages=before.messages + messages,
            octets=before.octets + octets,
            queued=before.queued + queued,
            held=before.held + held,
        )


def _recipients_text(recipients: Iterable[PendingRecipient]) -> str:
    try:
        return encode_recipients(recipients)
    except UnicodeError:
        # What a peer said may be left out; whom it was said of may not.
        return encode_recipients(replace(each, last_reply="") for each in recipients)
