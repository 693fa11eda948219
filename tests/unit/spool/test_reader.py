"""Every question is answered by an index, however much lies there."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgerelay.spool import reader
from edgerelay.spool.api import Filter, Status
from edgerelay.spool.queue_ids import QueueIds, first_key
from edgerelay.spool.reader import SLICE, Found, Reader, Suspects, Unreadable
from edgerelay.spool.schema import connect, open_or_create, prepare

COUNT = 20_000
LANES = 5


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sqlite3.Connection]:
    """20,000 messages in five lanes; every hundredth is held, the first tenth was warned of."""
    path: Path = tmp_path_factory.mktemp("spool") / "spool.db"
    connection = connect(str(path))
    open_or_create(connection, 1)
    prepare(connection)
    connection.execute("BEGIN")
    connection.execute(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) "
        "INSERT INTO message SELECT i, 'q', i, 0, 1, NULL, "
        """'{"reverse_path":"a@b.example"}', x'' FROM n""",
        (COUNT,),
    )
    connection.execute(
        "INSERT INTO delivery SELECT id << 14, 'lane' || (id % ?), id % 100 = 0, "
        "arrived, arrived, id <= ?, 0, 1, '', "
        """'[{"to":"u' || id || '@d' || (id % 10) || '.example"}]' FROM message""",
        (LANES, COUNT // 10),
    )
    connection.execute("COMMIT")
    yield connection
    connection.close()


@pytest.fixture
def asked(database: sqlite3.Connection) -> Reader:
    return Reader(database, QueueIds(lambda: 0.0, 1, 0), Suspects(0, 0.0))


PLANS = [
    ("due", reader.DUE, ("lane1", 1e9, 10), "delivery_due (lane=? AND due<?)"),
    ("next_due", reader.NEXT_DUE, ("lane1", 5.0), "delivery_due (lane=? AND due>?)"),
    ("aged", reader.AGED, (0, 1e9, 10), "delivery_age (warned=? AND arrived<?)"),
    ("oldest", reader.OLDEST, (0,), "delivery_age (warned=?)"),
    ("held", reader.HELD_KEYS, (0, 10), "delivery_held (status=? AND rowid>?)"),
    ("slice", reader.KEYS, (0, 10), "PRIMARY KEY (rowid>?)"),
    ("between", reader.BETWEEN % "", (0, 10), "PRIMARY KEY (rowid>? AND rowid<?)"),
]


@pytest.mark.parametrize(
    ("sql", "values", "index"), [plan[1:] for plan in PLANS], ids=[plan[0] for plan in PLANS]
)
def test_a_question_searches_an_index_and_sorts_nothing(
    database: sqlite3.Connection, sql: str, values: tuple[object, ...], index: str
) -> None:
    rows = database.execute("EXPLAIN QUERY PLAN " + sql, values)
    plan = "\n".join(str(row[3], "ascii") for row in rows)
    assert index in plan
    assert "SCAN" not in plan
    assert "TEMP B-TREE" not in plan


def test_lanes_are_found_by_as_many_steps_as_there_are_lanes(database: sqlite3.Connection) -> None:
    steps = 0

    def count() -> int:
        nonlocal steps
        steps += 1
        return 0

    database.set_progress_handler(count, 100)
    rows = database.execute(reader.LANES).fetchall()
    database.set_progress_handler(None, 0)
    assert len(rows) == LANES
    assert steps < 20, "hundreds of instructions, not tens of thousands"


def keys(found: list[Found]) -> list[int]:
    return [(each.delivery if isinstance(each, Unreadable) else each).key >> 14 for each in found]


def test_due_is_ordered_and_leaves_out_what_is_held(asked: Reader) -> None:
    assert keys(asked.due("lane0", 205.0, 1000))[-3:] == [190, 195, 205]
    assert keys(asked.due("lane1", 1e9, 3)) == [1, 6, 11]
    assert asked.next_due("lane0", 95.0) == 105.0
    assert asked.next_due("lane0", COUNT) is None


def test_age_is_of_all_or_of_those_nobody_was_warned_of(asked: Reader) -> None:
    tenth = COUNT // 10
    assert keys(asked.aged(1e9, True, 2)) == [tenth + 1, tenth + 2]
    assert keys(asked.aged(1e9, False, 3)) == [1, 2, 3]
    assert keys(asked.aged(2.0, False, 3)) == [1]
    assert asked.oldest_arrival(True) == tenth + 1
    assert asked.oldest_arrival(False) == 1.0


def search(asked: Reader, what: Filter) -> tuple[list[int], int]:
    found: list[int] = []
    start: int | None = 0
    reads = 0
    while start is not None:
        deliveries, start = asked.search(what, start)
        found += [each.key >> 14 for each in deliveries]
        reads += 1
    return found, reads


def test_a_search_by_address_goes_in_slices(asked: Reader) -> None:
    found, reads = search(asked, Filter(domain="D7.example"))
    assert found == list(range(7, COUNT + 1, 10))
    assert reads >= COUNT // SLICE
    found, _ = search(asked, Filter(forward_path="u77@d7.example"))
    assert found == [77]


def test_a_search_by_status_lane_or_age_leaves_that_to_sqlite(asked: Reader) -> None:
    found, reads = search(asked, Filter(status=Status.HELD))
    assert (len(found), reads) == (COUNT // 100, 1)
    found, _ = search(asked, Filter(lane="lane3", older_than=20.0))
    assert found == [3, 8, 13, 18]
    found, _ = search(asked, Filter(status=Status.QUEUED))
    assert len(found) == COUNT - COUNT // 100


def test_a_search_by_id_reads_one_message(asked: Reader) -> None:
    queue_id = QueueIds(lambda: 0.0, 1, 0).text(500)
    assert search(asked, Filter(queue_id=queue_id)) == ([500], 1)
    assert search(asked, Filter(queue_id=queue_id, status=Status.QUEUED)) == ([], 1)
    assert asked.search(Filter(queue_id=queue_id), first_key(501)) == ([], None)
