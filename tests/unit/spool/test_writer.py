"""A transaction holds what it can, and counts what it holds."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import pytest

from edgerelay.runtime import inline
from edgerelay.spool.api import (
    Change,
    Finish,
    NewDelivery,
    NewMessage,
    SpoolFull,
    SpoolUnavailable,
)
from edgerelay.spool.content import ContentStore
from edgerelay.spool.disk import MemoryDisk
from edgerelay.spool.queue_ids import QueueIds
from edgerelay.spool.rows import Totals
from edgerelay.spool.schema import connect, open_or_create, prepare
from edgerelay.spool.work import Insertion, Work
from edgerelay.spool.writer import BrokenDatabase, Writer
from edgerelay.testing.check_spool import ARRIVED, CLIENT, ENVELOPE, queued
from edgerelay.testing.faulty_disk import DatabaseFaults

IDS = QueueIds(lambda: ARRIVED, 1, 0)
CONTENTS = ContentStore(MemoryDisk(), inline, 1)


@pytest.fixture
def faults() -> DatabaseFaults:
    return DatabaseFaults()


@pytest.fixture
def writer(faults: DatabaseFaults) -> Iterator[Writer]:
    connection = faults.connect(":memory:")
    open_or_create(connection, 1)
    prepare(connection)
    yield Writer(connection, MemoryDisk(), 1, Totals(), set())
    connection.close()


def mail(*deliveries: NewDelivery) -> Work:
    content = CONTENTS.new()
    content.feed(b"12345")
    message = NewMessage(
        IDS.allocate(), ENVELOPE, CLIENT, ARRIVED, b"", content, deliveries or (queued(),)
    )
    return Work((Insertion(message, content, IDS),), [], is_mail=True)


def steps(*changes: Change) -> Work:
    return Work((), list(changes))


def key_of(work: Work) -> int:
    return work.insertions[0].deliveries[0].key


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
