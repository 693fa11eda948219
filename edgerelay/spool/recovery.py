"""What a crash can leave, case by case, and what is done about it when a shard is opened.

The work does not grow with the number of messages, only with that of large contents and of
marked attempts: counts and the last number lie in the row `state`, and who is on probation
follows from two numbers there.

1. *No database, or an empty one*: the crash came while the shard was made. It is made again.
2. *A content file that no row names*: the crash came before the commit (the client has no
   250), or after the commit of a deletion. It is unlinked.
3. *A transaction without its end in the log*: SQLite leaves it out. Nobody was answered.
4. *A message whose client got no answer*: it is delivered. The client sends it again; SMTP
   leaves no other way (RFC 5321 section 4.5.4.1, RFC 1047).
5. *A delivery whose next hop said 250 and whose outcome was not committed*: tried again. It
   was due, so it is on probation, as is everything due at that moment: it may be what
   killed the worker.
6. *A marker that stands*: that delivery was being tried on probation. It survives two such
   ends; at the third it is held, with an event.
7. *A row whose content file is missing*: no crash of ours does that (the file and its name
   are on the disk before the row), a disk or an operator does. It is held, with an event.
8. *A record that does not parse*: likewise. It is held when it is first read, the row kept.
9. *Queue ids given and never committed*: the numbering goes on far enough above the last
   number committed that a clock that ran backwards repeats none.
10. *No ballast*: it was given back on a full disk. House-keeping reserves it again.
11. *After a disk error, not a crash: rows of the failed transaction in the log*. Their clients
    were told that nothing was kept, so they are deleted (``purge``).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from edgerelay.spool.disk import Disk
from edgerelay.spool.queue_ids import TICKS, first_key, number_of_key
from edgerelay.spool.reader import Suspects
from edgerelay.spool.rows import Totals
from edgerelay.spool.schema import HELD, QUEUED

#: Ends with the marker standing after which a delivery is held.
DEATHS: Final = 3
POISON: Final = f"in flight at {DEATHS} ends of a worker"
MISSING: Final = "the content file is missing"


@dataclass(frozen=True, slots=True)
class SetAside:
    """A delivery that recovery held."""

    number: int
    lane: str
    reason: str


@dataclass(frozen=True, slots=True)
class Recovered:
    """A shard that may be used."""

    tag: int
    epoch: int
    clean: bool  #: the last owner closed it
    last_number: int
    suspects: Suspects
    totals: Totals
    marked: set[int]
    set_aside: list[SetAside]


def recover(
    connection: sqlite3.Connection,
    disk: Disk,
    now: float,
    *,
    again: bool = False,
    live: Collection[str] = (),
    purge: Iterable[int] = (),
) -> Recovered:
    """Put a shard in order and note that it is in use. ``now`` is the wall clock.

    ``again``: we owned it all the time, the disk failed, no message is to blame. ``live`` are
    content files in use, ``purge`` message numbers that must not be there. Raises
    sqlite3.Error, OSError.
    """
    connection.execute("BEGIN IMMEDIATE")
    row = connection.execute(
        "SELECT tag, epoch, clean, last_number, suspect_epoch, suspect_due FROM state"
    ).fetchone()
    tag, epoch, clean, last_number, suspect_epoch, suspect_due = row
    set_aside: list[SetAside] = []
    if not (clean or again):
        suspect_epoch, suspect_due = epoch, max(now, suspect_due)
        last_number += 10 * TICKS
        set_aside += _count_deaths(connection)
    for number in purge:
        _purge(connection, number)
    names = set(disk.names())
    set_aside += _hold_without_content(connection, names)
    connection.execute(
        "UPDATE state SET epoch = epoch + 1, clean = 0, last_number = ?, suspect_epoch = ?, "
        "suspect_due = ?",
        (last_number, suspect_epoch, suspect_due),
    )
    connection.execute("COMMIT")
    _sweep(connection, disk, names - set(live))
    totals = connection.execute(
        "SELECT last_number, messages, octets, queued, held FROM state"
    ).fetchone()
    marked = {key for (key,) in connection.execute("SELECT key FROM mark")}
    return Recovered(
        tag,
        epoch + 1,
        bool(clean),
        last_number,
        Suspects(suspect_epoch, suspect_due),
        Totals(*totals),
        marked,
        set_aside,
    )


def _count_deaths(connection: sqlite3.Connection) -> list[SetAside]:
    connection.execute("UPDATE mark SET deaths = deaths + standing, standing = 0")
    keys = connection.execute("SELECT key FROM mark WHERE deaths >= ?", (DEATHS,)).fetchall()
    connection.execute("DELETE FROM mark WHERE deaths >= ?", (DEATHS,))
    return _hold(connection, [key for (key,) in keys], POISON)


def _hold_without_content(connection: sqlite3.Connection, names: set[str]) -> list[SetAside]:
    missing = [
        number
        for number, name in connection.execute(
            "SELECT id, file FROM message WHERE file IS NOT NULL"
        )
        if name.decode(errors="replace") not in names
    ]
    keys = [
        key
        for number in missing
        for (key,) in connection.execute(
            "SELECT key FROM delivery WHERE key >= ? AND key < ?",
            (first_key(number), first_key(number + 1)),
        )
    ]
    return _hold(connection, keys, MISSING)


def _hold(connection: sqlite3.Connection, keys: list[int], reason: str) -> list[SetAside]:
    held = []
    for key in keys:
        row = connection.execute(
            "UPDATE delivery SET status = ?, reason = ? WHERE key = ? AND status = ? "
            "RETURNING lane",
            (HELD, reason, key, QUEUED),
        ).fetchone()
        if row is not None:
            lane = row[0].decode(errors="replace")
            held.append(SetAside(number_of_key(key), lane, reason))
    connection.execute(
        "UPDATE state SET queued = queued - ?, held = held + ?", (len(held), len(held))
    )
    return held


def _purge(connection: sqlite3.Connection, number: int) -> None:
    row = connection.execute("DELETE FROM message WHERE id = ? RETURNING size", (number,))
    sizes = row.fetchall()
    if not sizes:
        return
    connection.execute("DELETE FROM body WHERE id = ?", (number,))
    statuses = connection.execute(
        "DELETE FROM delivery WHERE key >= ? AND key < ? RETURNING status",
        (first_key(number), first_key(number + 1)),
    ).fetchall()
    held = sum(status for (status,) in statuses)
    connection.execute(
        "UPDATE state SET messages = messages - 1, octets = octets - ?, queued = queued - ?, "
        "held = held - ?",
        (sizes[0][0], len(statuses) - held, held),
    )


def _sweep(connection: sqlite3.Connection, disk: Disk, names: set[str]) -> None:
    """Unlink what no row names."""
    rows = connection.execute("SELECT file FROM message WHERE file IS NOT NULL")
    named = {name.decode(errors="replace") for (name,) in rows}
    for name in sorted(names - named):
        with suppress(OSError):  # the next start sweeps it: the mail beside it must not wait
            disk.unlink(name)
