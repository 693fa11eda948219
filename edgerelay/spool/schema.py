"""The format of a shard's database, version 1: its tables, its indexes, how it is opened.

Nothing else knows a pragma. docs/spool.md tells an operator what lies where.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Final

from edgerelay.spool.api import SpoolError, SpoolTooNew, Status

FORMAT: Final = 1  #: `PRAGMA user_version`
APPLICATION: Final = 0x45525350  #: `PRAGMA application_id`: "ERSP"
PAGE_SIZE: Final = 16384  #: octets; 100 KiB messages cost half of what they cost with 4096

LOG_PAGES: Final = 1000  #: of the log before it is checkpointed: 16 MiB, SQLite's own default

#: Statuses as numbers; an index may name them only literally.
QUEUED: Final = 0
HELD: Final = 1


def status_number(status: Status) -> int:
    return QUEUED if status is Status.QUEUED else HELD


#: A function that opens the database: the seam for failing disks.
Connect = Callable[[str], sqlite3.Connection]

# `message.id` is the number of the queue id, `delivery.key` is id << 14 | n. Keys grow with
# time, so every table is written at its end. The indexes are partial: a held delivery is in
# none but its own, and each says which question it answers.
_TABLES: Final = """
CREATE TABLE state (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    tag INTEGER NOT NULL,           -- of the shard, in every queue id
    epoch INTEGER NOT NULL,         -- how often the shard was opened
    clean INTEGER NOT NULL,         -- 1: the last owner closed it
    last_number INTEGER NOT NULL,   -- of a queue id, ever
    suspect_epoch INTEGER NOT NULL, -- due deliveries written in this epoch or before,
    suspect_due REAL NOT NULL,      -- and due at this time or before, are on probation
    messages INTEGER NOT NULL,
    octets INTEGER NOT NULL,
    queued INTEGER NOT NULL,        -- deliveries
    held INTEGER NOT NULL
);
CREATE TABLE message (
    id INTEGER PRIMARY KEY,
    queue_id TEXT NOT NULL,
    arrived REAL NOT NULL,
    size INTEGER NOT NULL,
    is_7bit INTEGER NOT NULL,
    file TEXT,                      -- in content/; NULL: in table body
    record TEXT NOT NULL,           -- JSON
    prepend BLOB NOT NULL
);
CREATE INDEX message_file ON message (file) WHERE file IS NOT NULL;
CREATE TABLE body (
    id INTEGER PRIMARY KEY,
    content BLOB NOT NULL
);
CREATE TABLE delivery (
    key INTEGER PRIMARY KEY,
    lane TEXT NOT NULL,
    status INTEGER NOT NULL,        -- 0 queued, 1 held
    due REAL NOT NULL,
    arrived REAL NOT NULL,
    warned INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    epoch INTEGER NOT NULL,         -- when it was last written
    reason TEXT NOT NULL,
    recipients TEXT NOT NULL        -- JSON
);
CREATE INDEX delivery_due ON delivery (lane, due) WHERE status = 0;
CREATE INDEX delivery_age ON delivery (warned, arrived) WHERE status = 0;
CREATE INDEX delivery_held ON delivery (status) WHERE status = 1;
CREATE TABLE mark (                 -- attempts on probation
    key INTEGER PRIMARY KEY,
    standing INTEGER NOT NULL,      -- 1: being tried
    deaths INTEGER NOT NULL         -- unclean ends with the marker standing
);
CREATE TABLE pause (
    lane TEXT PRIMARY KEY,
    not_before REAL NOT NULL,
    failures INTEGER NOT NULL
) WITHOUT ROWID;
"""


def connect(
    path: str, factory: type[sqlite3.Connection] = sqlite3.Connection
) -> sqlite3.Connection:
    """Open a database for use from any thread, one at a time; transactions are explicit."""
    return sqlite3.connect(
        path,
        timeout=5,  # seconds: an operator's own tool may have the database locked
        isolation_level=None,
        check_same_thread=False,
        cached_statements=256,
        factory=factory,
    )


def log_pages(ballast: int) -> int:
    """How long the log may grow: what it holds must fit beside it when it is checkpointed.

    On a full disk the ballast is that room. A batch is half as long as this at most, and a log
    that can no longer be checkpointed grows by less than it was long until nothing fits: three
    quarters of the ballast at worst, if this is a quarter of it.
    """
    return min(LOG_PAGES, max(16, ballast // 4 // PAGE_SIZE)) if ballast else LOG_PAGES


def prepare(connection: sqlite3.Connection, log_pages: int = LOG_PAGES) -> None:
    """Set what a connection does not remember, for one that writes or reads a shard."""
    # Text comes as it lies there: a record that is not UTF-8 must not stop the rows beside it.
    connection.text_factory = bytes
    connection.execute("PRAGMA synchronous=FULL")
    # Debian builds SQLite to overwrite what is deleted: every message's pages once more.
    connection.execute("PRAGMA secure_delete=OFF")
    # 8 MiB: what 20 messages of 100 KiB touch. With SQLite's 2 MiB each cost 250 us instead of
    # 210, its pages having to be read back from the log to be freed.
    connection.execute("PRAGMA cache_size=-8192")
    connection.execute(f"PRAGMA wal_autocheckpoint={log_pages:d}")
    connection.execute("PRAGMA journal_size_limit=67108864")


def open_or_create(connection: sqlite3.Connection, tag: int) -> None:
    """Make an empty database a shard, or check that it is one we can read.

    Raises `SpoolTooNew`, `SpoolError` for a foreign database, sqlite3.Error.
    """
    # Both matter only while the file is empty, and then must come before anything else.
    connection.execute(f"PRAGMA page_size={PAGE_SIZE}")
    connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    if version > FORMAT and application == APPLICATION:
        raise SpoolTooNew(
            f"the spool has format {version}, this edgerelay reads up to {FORMAT}: it is newer"
        )
    if application == APPLICATION:
        return
    if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        raise SpoolError("the database is no spool of edgerelay")
    connection.execute("PRAGMA journal_mode=WAL")
    # One transaction: a crash leaves an empty file or a whole format.
    state = f"INSERT INTO state VALUES (1, {tag:d}, 0, 1, 0, -1, 0, 0, 0, 0, 0);"  # noqa: S608  a number of ours
    connection.executescript(
        f"BEGIN IMMEDIATE; {_TABLES} {state}"
        f"PRAGMA user_version={FORMAT}; PRAGMA application_id={APPLICATION}; COMMIT;"
    )


def database_file(directory: Path) -> Path:
    return directory / "spool.db"
