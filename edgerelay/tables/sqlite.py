"""Tables in one SQLite file that all workers of a machine share.

Calls queue up and one task takes whatever waits through one thread hop and one transaction:
a burst costs little more than a single call, and the connection has one user at a time.
synchronous=NORMAL: a power loss may forget the last moments, never corrupt. What is kept
here can be found out again; mail is not kept here.
"""

from __future__ import annotations

import sqlite3
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import trio

from edgerelay.census import known
from edgerelay.runtime import Clock, RunBlocking
from edgerelay.tables.api import STALE, Change, TableError, check_key

_VERSION: Final = 1  #: of the schema, as PRAGMA user_version
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS entries(
  name TEXT NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL, expires REAL NOT NULL,
  PRIMARY KEY(name, key)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS by_expiry ON entries(expires);
"""
_BUSY: Final = 5.0  #: seconds a transaction waits for another worker's
_ENTRIES: Final = 1_000_000  #: in the file; beyond it those that end soonest go
_CACHED: Final = 20_000  #: values a worker remembers
_WAITING: Final = 10_000  #: calls that may queue
_SWEEP_EVERY: Final = 60.0  #: seconds between two sweeps, while anybody writes
_SWEEP_AGAIN: Final = 1.0  #: ... if the last one left something to do
_SLICE: Final = 1000  #: entries a sweep deletes at a time

_Key = tuple[str, str]  #: table, key
_Entry = tuple[bytes, float]  #: value, wall-clock time of its end
_Work = Callable[[sqlite3.Connection], _Entry | None]


class _Call:
    """One queued call: what to do with the connection, and how it went."""

    __slots__ = ("done", "error", "result", "where", "work", "writes")

    def __init__(self, where: _Key, work: _Work, *, writes: bool) -> None:
        self.where = where
        self.work = work
        self.writes = writes
        self.done = trio.Event()
        self.result: _Entry | None = None
        self.error = "closed"


class SqliteTables:
    """An async context manager. The file is opened at the first call, and again after an
    error: a broken one makes calls fail, not the start.

    ``path`` may be ":memory:" with a ``run_blocking`` that runs inline.
    """

    def __init__(
        self,
        path: Path | str,
        run_blocking: RunBlocking,
        clock: Clock,
        *,
        entries: int = _ENTRIES,
    ) -> None:
        self._path = path
        self._run_blocking = run_blocking
        self._clock = clock
        self._entries = entries
        self._connection: sqlite3.Connection | None = None
        self._queue: list[_Call] = []
        self._wake = trio.Event()
        self._sweep_at = 0.0
        self._cache: OrderedDict[_Key, tuple[bytes, float, float]] = OrderedDict()
        self._lifetime: AbstractAsyncContextManager[None] | None = None

    async def __aenter__(self) -> Self:
        self._lifetime = self._serving()
        await self._lifetime.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        if self._lifetime is None:
            return None
        return await self._lifetime.__aexit__(kind, error, trace)

    def table(self, name: str) -> SqliteTable:
        return SqliteTable(self, name)

    @asynccontextmanager
    async def _serving(self) -> AsyncIterator[None]:
        try:
            async with trio.open_nursery() as nursery:
                known(nursery, "services").start_soon(self._serve)
                yield
                nursery.cancel_scope.cancel()
        finally:
            for call in self._queue:
                call.done.set()
            with trio.CancelScope(shield=True):  # bounded: one close, in a thread
                await self._run_blocking(self._close)

    async def _serve(self) -> None:
        while True:
            await self._wake.wait()
            self._wake = trio.Event()
            batch, self._queue = self._queue, []
            with trio.CancelScope(shield=True):  # bounded by the busy timeout
                await self._run_blocking(partial(self._execute, batch))
            for call in batch:
                # Here, since callers wake in any order: the last change is to be remembered.
                self.remember(call.where, None if call.error else call.result)
                call.done.set()

    async def call(self, where: _Key, work: _Work, *, writes: bool) -> _Entry | None:
        """Run ``work`` with the connection in the next batch. Raises `TableError`."""
        if len(self._queue) >= _WAITING:
            raise TableError("too many calls wait for the tables")
        call = _Call(where, work, writes=writes)
        self._queue.append(call)
        self._wake.set()
        await call.done.wait()
        if call.error:
            raise TableError(call.error)
        return call.result

    def recall(self, key: _Key) -> bytes | None:
        """Return a value that was read or written here a moment ago."""
        value, expires, stale = self._cache.get(key, (None, 0.0, 0.0))
        if value is None or stale <= trio.current_time() or expires <= self._clock():
            return None
        return value

    def remember(self, key: _Key, entry: _Entry | None) -> None:
        if entry is None:
            self.forget(key)
            return
        self._cache[key] = (*entry, trio.current_time() + STALE)
        self._cache.move_to_end(key)
        if len(self._cache) > _CACHED:
            self._cache.popitem(last=False)

    def forget(self, key: _Key) -> None:
        self._cache.pop(key, None)

    def now(self) -> float:
        return self._clock()

    # -- in a thread ---------------------------------------------------------------------

    def _execute(self, batch: list[_Call]) -> None:
        try:
            connection = self._connection = self._connection or self._open()
            if any(call.writes for call in batch):
                connection.execute("BEGIN IMMEDIATE")
                self._sweep(connection)
            for call in batch:
                call.result = call.work(connection)
            connection.commit()
        except sqlite3.Error as error:
            self._close()
            for call in batch:
                call.error = f"{type(error).__name__}: {error}"
        else:
            for call in batch:
                call.error = ""

    def _open(self) -> sqlite3.Connection:
        # One task uses it, through whichever thread is free. Transactions are ours to begin.
        connection = sqlite3.connect(
            self._path, timeout=_BUSY, isolation_level=None, check_same_thread=False
        )
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=NORMAL")
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version not in (0, _VERSION):
                raise sqlite3.DatabaseError(
                    f"tables of version {version}, made by a newer program"
                )
            if version != _VERSION:
                connection.executescript(f"{_SCHEMA} PRAGMA user_version={_VERSION};")
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _sweep(self, connection: sqlite3.Connection) -> None:
        """Delete a slice of what has ended, and of what ends soonest if there is too much."""
        now = self._clock()
        if 0 < self._sweep_at - now <= _SWEEP_EVERY:  # else due, or the clock was set back
            return
        gone = connection.execute(
            "DELETE FROM entries WHERE (name, key) IN"
            " (SELECT name, key FROM entries WHERE expires <= ? ORDER BY expires LIMIT ?)",
            (now, _SLICE),
        ).rowcount
        (count,) = connection.execute("SELECT count(*) FROM entries").fetchone()
        if count > self._entries:
            gone = connection.execute(
                "DELETE FROM entries WHERE (name, key) IN"
                " (SELECT name, key FROM entries ORDER BY expires LIMIT ?)",
                (min(count - self._entries, _SLICE),),
            ).rowcount
        self._sweep_at = now + (_SWEEP_AGAIN if gone == _SLICE else _SWEEP_EVERY)


class SqliteTable:
    """One table of `SqliteTables`."""

    def __init__(self, tables: SqliteTables, name: str) -> None:
        self._tables = tables
        self._name = name

    async def get(self, key: str) -> bytes | None:
        """See `Table.get`. What is remembered costs no checkpoint."""
        where = (self._name, check_key(key))
        value = self._tables.recall(where)
        if value is not None:
            return value
        return await self._entry(where, partial(_read, where, self._tables.now()), writes=False)

    async def put(self, key: str, value: bytes, *, expires_in: float) -> None:
        where = (self._name, check_key(key))
        entry = (value, self._tables.now() + expires_in)
        await self._entry(where, partial(_write, where, entry), writes=True)

    async def setdefault(self, key: str, value: bytes, *, expires_in: float) -> bytes:
        where = (self._name, check_key(key))
        now = self._tables.now()
        entry = (value, now + expires_in)

        def read_or_write(connection: sqlite3.Connection) -> _Entry:
            return _read(where, now, connection) or _write(where, entry, connection)

        standing = await self._entry(where, read_or_write, writes=True)
        return value if standing is None else standing

    async def update(self, key: str, change: Change) -> bytes | None:
        where = (self._name, check_key(key))
        now = self._tables.now()

        def look_and_write(connection: sqlite3.Connection) -> _Entry | None:
            standing = _read(where, now, connection)
            wanted = change(None if standing is None else standing[0])
            if wanted is None:
                return standing
            value, expires_in = wanted
            return _write(where, (value, now + expires_in), connection)

        return await self._entry(where, look_and_write, writes=True)

    async def delete(self, key: str) -> None:
        where = (self._name, check_key(key))
        await self._entry(where, partial(_delete, where), writes=True)

    async def _entry(self, where: _Key, work: _Work, *, writes: bool) -> bytes | None:
        self._tables.forget(where)
        entry = await self._tables.call(where, work, writes=writes)
        return None if entry is None else entry[0]


def _read(where: _Key, now: float, connection: sqlite3.Connection) -> _Entry | None:
    entry: _Entry | None = connection.execute(
        "SELECT value, expires FROM entries WHERE name = ? AND key = ? AND expires > ?",
        (*where, now),
    ).fetchone()
    return entry


def _write(where: _Key, entry: _Entry, connection: sqlite3.Connection) -> _Entry:
    connection.execute("INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?)", (*where, *entry))
    return entry


def _delete(where: _Key, connection: sqlite3.Connection) -> None:
    connection.execute("DELETE FROM entries WHERE name = ? AND key = ?", where)
