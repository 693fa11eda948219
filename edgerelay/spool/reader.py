"""Questions to a shard's database, each answered in one short read.

A read holds the log open and the writer's checkpoints back, so none here is longer than
what was asked for, and none walks a table from end to end at once.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import Any, Final

from edgerelay.mail.address import NULL_REVERSE_PATH, Mailbox, domain_key
from edgerelay.mail.envelope import ClientFacts, Envelope
from edgerelay.spool.api import (
    Filter,
    PendingDelivery,
    SpoolUnavailable,
    Status,
    StoredMessage,
)
from edgerelay.spool.queue_ids import DELIVERY_BITS, QueueIds, first_key, number_of_key
from edgerelay.spool.records import decode_message, decode_recipients

# What SQLite can tell of an address without parsing JSON, a hundred times faster: LIKE ignores
# the case of ASCII, and whatever is not ASCII may be the same domain in U-labels.
_MAY_HOLD: Final = "({0} LIKE ? ESCAPE '\\' OR {0} GLOB '*[^ -~]*')"
#: Deliveries looked at in one read of a search.
SLICE: Final = 2_000
_LAST_KEY: Final = (1 << 63) - 1

# LEFT: a delivery whose message is gone must be seen, not overlooked.
_ROWS: Final = f"""
    SELECT d.key, d.lane, d.status, d.due, d.warned, d.attempts, d.epoch, d.reason, d.recipients,
           m.arrived, m.size, m.is_7bit, m.record, m.prepend
    FROM delivery AS d %s LEFT JOIN message AS m ON m.id = d.key >> {DELIVERY_BITS}
"""  # noqa: S608  a constant of ours
DUE: Final = (
    _ROWS % "INDEXED BY delivery_due"
    + "WHERE d.status = 0 AND d.lane = ? AND d.due <= ? ORDER BY d.due, d.key LIMIT ?"
)
NEXT_DUE: Final = (
    "SELECT min(due) FROM delivery INDEXED BY delivery_due "
    "WHERE status = 0 AND lane = ? AND due > ?"
)
AGED: Final = (
    _ROWS % "INDEXED BY delivery_age"
    + "WHERE d.status = 0 AND d.warned = ? AND d.arrived < ? ORDER BY d.arrived, d.key LIMIT ?"
)
OLDEST: Final = (
    "SELECT min(arrived) FROM delivery INDEXED BY delivery_age WHERE status = 0 AND warned = ?"
)
# One step of the index per lane, however many deliveries a lane has.
LANES: Final = """
    WITH RECURSIVE each(lane) AS (
        SELECT min(lane) FROM delivery INDEXED BY delivery_due WHERE status = 0
        UNION ALL
        SELECT (SELECT min(lane) FROM delivery INDEXED BY delivery_due
                WHERE status = 0 AND lane > each.lane)
        FROM each WHERE each.lane IS NOT NULL
    )
    SELECT lane FROM each WHERE lane IS NOT NULL
"""
HELD_KEYS: Final = (
    "SELECT key FROM delivery INDEXED BY delivery_held "
    "WHERE status = 1 AND key >= ? ORDER BY key LIMIT ?"
)
KEYS: Final = "SELECT key FROM delivery WHERE key >= ? ORDER BY key LIMIT ?"
BETWEEN: Final = _ROWS % "" + "WHERE d.key >= ? AND d.key <= ?%s ORDER BY d.key"
CONTENT: Final = (
    "SELECT m.file, b.content FROM message AS m LEFT JOIN body AS b ON b.id = m.id WHERE m.id = ?"
)
#: Not by `blobopen`: the one of Debian 12's Python takes no row number over 31 bits. `substr`
#: makes NULL of an empty content.
HEAD: Final = CONTENT.replace("b.content", "coalesce(substr(b.content, 1, ?), b.content)")


@dataclass(frozen=True, slots=True)
class Suspects:
    """What was due when a worker died: on probation until it is written again."""

    epoch: int
    due: float


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A delivery whose record does not parse, as far as it can be shown."""

    delivery: PendingDelivery
    problem: str


Found = PendingDelivery | Unreadable


class Reader:
    """Owns the reading connection; used by one thread at a time. Raises sqlite3.Error."""

    def __init__(self, connection: sqlite3.Connection, ids: QueueIds, suspects: Suspects) -> None:
        self._connection = connection
        self._execute = connection.execute
        self._ids = ids
        self._suspects = suspects

    def due(self, lane: str, now: float, limit: int) -> list[Found]:
        return self._found(self._execute(DUE, (lane, now, limit)))

    def next_due(self, lane: str, now: float) -> float | None:
        return self._number(NEXT_DUE, (lane, now))

    def aged(self, arrived_before: float, unwarned: bool, limit: int) -> list[Found]:
        found = self._found(self._execute(AGED, (0, arrived_before, limit)))
        if not unwarned:
            found += self._found(self._execute(AGED, (1, arrived_before, limit)))
            found.sort(key=lambda each: _delivery(each).message.arrived)
        return found[:limit]

    def oldest_arrival(self, unwarned: bool) -> float | None:
        ages = [self._number(OLDEST, (warned,)) for warned in ((0,) if unwarned else (0, 1))]
        return min((age for age in ages if age is not None), default=None)

    def lanes(self) -> list[str]:
        return [_text(row[0]) for row in self._execute(LANES)]

    def pauses(self) -> dict[str, tuple[float, int]]:
        rows = self._execute("SELECT lane, not_before, failures FROM pause")
        return {_text(lane): (not_before, failures) for lane, not_before, failures in rows}

    def search(self, what: Filter, start: int) -> tuple[list[PendingDelivery], int | None]:
        """One slice of a search, from key ``start``: what matches, and where to go on."""
        end = _LAST_KEY
        if what.queue_id is not None:
            number = self._ids.number(what.queue_id)
            if number is None:
                return [], None
            start, end = max(start, first_key(number)), first_key(number + 1) - 1
        by_status = HELD_KEYS if what.status is Status.HELD else KEYS
        keys = self._execute(by_status, (start, SLICE)).fetchall()
        if not keys or keys[0][0] > end:
            return [], None
        last = min(keys[-1][0], end)
        conditions, values = _conditions(what)
        rows = self._execute(BETWEEN % conditions, (keys[0][0], last, *values))
        deliveries = [_delivery(each) for each in self._found(rows)]
        go_on = last + 1 if len(keys) == SLICE and last < end else None
        return [each for each in deliveries if matches(what, each)], go_on

    def content(self, number: int) -> tuple[str | None, bytes]:
        """The name of the message's file, or what lies in the database. `SpoolUnavailable`."""
        return self._content(CONTENT, (number,))

    def content_head(self, number: int, limit: int) -> tuple[str | None, bytes]:
        """The same, at most ``limit`` octets of what lies in the database."""
        return self._content(HEAD, (limit, number))

    def _content(self, sql: str, values: tuple[object, ...]) -> tuple[str | None, bytes]:
        row = self._execute(sql, values).fetchone()
        if row is None or row == (None, None):
            raise SpoolUnavailable("the message has no content")
        return (None, row[1]) if row[0] is None else (_text(row[0]), b"")

    def _number(self, sql: str, values: tuple[object, ...]) -> float | None:
        value = self._execute(sql, values).fetchone()[0]
        return value if isinstance(value, float | int) else None

    def _found(self, rows: sqlite3.Cursor) -> list[Found]:
        return [self._read(row) for row in rows.fetchall()]

    def _read(self, row: tuple[Any, ...]) -> Found:
        key, lane, status, due, warned, attempts, epoch, reason, recipients = row[:9]
        arrived, size, is_7bit, record, prepend = row[9:]
        queue_id = self._ids.text(number_of_key(key))
        try:
            message = decode_message(
                record, queue_id, float(arrived), bytes(prepend), size, bool(is_7bit)
            )
            return PendingDelivery(
                key,
                message,
                lane.decode(),
                tuple(decode_recipients(recipients)),
                attempts,
                float(due),
                Status.HELD if status else Status.QUEUED,
                reason.decode(),
                bool(warned),
                not status and epoch <= self._suspects.epoch and due <= self._suspects.due,
            )
        except (ValueError, TypeError, AttributeError) as error:
            return Unreadable(self._placeholder(row), f"record does not parse: {error}")

    def _placeholder(self, row: tuple[Any, ...]) -> PendingDelivery:
        key, lane, status, due, _warned, _attempts, _epoch, reason, _recipients = row[:9]
        arrived, size = row[9:11]
        return PendingDelivery(
            key,
            StoredMessage(
                self._ids.text(number_of_key(key)),
                Envelope(NULL_REVERSE_PATH),
                ClientFacts("", "", ""),
                arrived if isinstance(arrived, float) else 0.0,
                b"",
                size if isinstance(size, int) else 0,
                False,
            ),
            _text(lane),
            (),
            0,
            due if isinstance(due, float) else 0.0,
            Status.HELD if status else Status.QUEUED,
            _text(reason),
        )


def _text(value: object) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _delivery(found: Found) -> PendingDelivery:
    return found.delivery if isinstance(found, Unreadable) else found


def _conditions(what: Filter) -> tuple[str, list[object]]:
    """The part of a filter that SQLite decides, so that fewer records are parsed."""
    sql, values = "", list[object]()
    if what.status is not None:
        sql += f" AND d.status = {int(what.status is Status.HELD)}"
    if what.lane is not None:
        sql += " AND d.lane = ?"
        values.append(what.lane)
    if what.older_than is not None:
        sql += " AND d.arrived < ?"
        values.append(what.older_than)
    for text in (what.domain, what.forward_path):
        if text is not None:
            sql += " AND " + _MAY_HOLD.format("d.recipients")
            values.append(_like(text))
    if what.reverse_path:
        sql += " AND " + _MAY_HOLD.format("m.record")
        values.append(_like(what.reverse_path))
    elif what.reverse_path is not None:
        sql += " AND instr(m.record, '\"reverse_path\":') = 0"
    return sql, values


def _like(text: str) -> str:
    """A pattern for records in which the domain of ``text`` occurs, if all is ASCII there."""
    domain = domain_key(text.rpartition("@")[2])
    for special in "\\%_":
        domain = domain.replace(special, "\\" + special)
    return f"%@{domain}%"


def matches(what: Filter, delivery: PendingDelivery) -> bool:
    """The rest of a filter: what is said of addresses."""
    return (
        (what.reverse_path is None or _matches_reverse_path(what.reverse_path, delivery))
        and (what.domain is None or _matches_domain(what.domain, delivery))
        and (what.forward_path is None or _matches_forward_path(what.forward_path, delivery))
    )


def _same_mailbox(text: str, mailbox: Mailbox | None) -> bool:
    local_part, _, domain = text.rpartition("@")
    return mailbox is not None and mailbox.same_as(Mailbox(local_part, domain))


def _matches_reverse_path(text: str, delivery: PendingDelivery) -> bool:
    if not delivery.recipients:
        return False  # unreadable: nothing is known of its addresses
    mailbox = delivery.message.envelope.reverse_path.mailbox
    return mailbox is None if not text else _same_mailbox(text, mailbox)


def _matches_domain(domain: str, delivery: PendingDelivery) -> bool:
    key = domain_key(domain)
    return any(
        each.recipient.forward_path.mailbox.domain_key == key for each in delivery.recipients
    )


def _matches_forward_path(text: str, delivery: PendingDelivery) -> bool:
    return any(
        _same_mailbox(text, each.recipient.forward_path.mailbox) for each in delivery.recipients
    )
