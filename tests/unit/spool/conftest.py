"""A writer on a database in memory, which fails when it is told to."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from edgerelay.spool.disk import MemoryDisk
from edgerelay.spool.rows import Totals
from edgerelay.spool.schema import open_or_create, prepare
from edgerelay.spool.writer import Writer
from edgerelay.testing.faulty_disk import DatabaseFaults


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
