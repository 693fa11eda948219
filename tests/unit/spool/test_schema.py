"""A database is made whole or not at all, and one that is not ours is left alone."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from edgerelay.spool.api import SpoolError, SpoolTooNew
from edgerelay.spool.schema import FORMAT, LOG_PAGES, connect, log_pages, open_or_create, prepare


def pragma(connection: sqlite3.Connection, name: str) -> object:
    return connection.execute(f"PRAGMA {name}").fetchone()[0]


def test_a_new_database_has_what_cannot_be_changed_later(tmp_path: Path) -> None:
    connection = connect(str(tmp_path / "spool.db"))
    open_or_create(connection, 7)
    prepare(connection)
    assert pragma(connection, "page_size") == 16384
    assert pragma(connection, "auto_vacuum") == 2
    assert pragma(connection, "journal_mode") in (b"wal", "wal")
    assert pragma(connection, "synchronous") == 2
    assert pragma(connection, "user_version") == FORMAT
    assert connection.execute("SELECT tag, clean FROM state").fetchall() == [(7, 1)]
    open_or_create(connection, 8)
    assert connection.execute("SELECT tag FROM state").fetchall() == [(7,)]
    connection.close()


def test_a_newer_format_is_not_touched() -> None:
    connection = connect(":memory:")
    open_or_create(connection, 7)
    connection.execute(f"PRAGMA user_version={FORMAT + 1}")
    with pytest.raises(SpoolTooNew, match="newer"):
        open_or_create(connection, 7)
    connection.close()


def test_a_foreign_database_is_not_touched() -> None:
    connection = connect(":memory:")
    connection.execute("CREATE TABLE users (name)")
    with pytest.raises(SpoolError, match="no spool"):
        open_or_create(connection, 7)
    connection.close()


@pytest.mark.parametrize(
    ("ballast", "pages"),
    [(0, LOG_PAGES), (1 << 16, 16), (1 << 20, 16), (4 << 20, 64), (1 << 30, LOG_PAGES)],
)
def test_the_log_is_no_longer_than_the_ballast_allows(ballast: int, pages: int) -> None:
    assert log_pages(ballast) == pages
