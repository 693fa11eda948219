"""A transaction holds what it can, and counts what it holds."""

from __future__ import annotations

import sqlite3

import pytest

from edgerelay.spool.api import (
    Finish,
    SpoolFull,
    SpoolUnavailable,
)
from edgerelay.spool.disk import MemoryDisk
from edgerelay.spool.rows import Totals
from edgerelay.spool.schema import connect, open_or_create
from edgerelay.spool.writer import BrokenDatabase, Writer
from edgerelay.testing.faulty_disk import DatabaseFaults
from tests.unit.spool.works import key_of, mail, steps


def test_a_full_disk_refuses_mail_and_takes_outcomes(
    writer: Writer, faults: DatabaseFaults
) -> None:
    first, second = mail(), mail()
    writer.write([first])
    faults.fail("COMMIT", sqlite3.SQLITE_FULL)
    outcome = steps(Finish(key_of(first)))
    writer.write([second, outcome])
    assert isinstance(second.error, SpoolFull)
    assert outcome.error is None
    assert writer.totals.messages == 0


def test_a_lock_refuses_everyone_for_now(writer: Writer, faults: DatabaseFaults) -> None:
    work = mail()
    faults.fail("BEGIN", sqlite3.SQLITE_BUSY)
    writer.write([work])
    assert isinstance(work.error, SpoolUnavailable)
    assert writer.totals == Totals()


def test_any_other_error_is_the_databases(writer: Writer, faults: DatabaseFaults) -> None:
    faults.fail("BEGIN", sqlite3.SQLITE_CORRUPT)
    with pytest.raises(BrokenDatabase, match="the test says so"):
        writer.write([mail()])


def test_a_state_that_cannot_be_written_is_the_databases_too() -> None:
    connection = connect(":memory:")
    open_or_create(connection, 1)
    writer = Writer(connection, MemoryDisk(), 1, Totals(octets=1 << 70), set())
    with pytest.raises(BrokenDatabase):
        writer.write([mail()])
    connection.close()
