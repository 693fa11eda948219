"""A crash at every write and every sync of fifty messages' lives: what was said still holds."""

from __future__ import annotations

import os
import shutil
import sqlite3
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest
import trio

from edgerelay.runtime import inline
from edgerelay.spool import open_spool
from edgerelay.spool.api import Filter, PendingDelivery, SpoolError, Status
from edgerelay.testing.check_spool import ARRIVED, new_message, read
from tests.e2e.spool_scenario import content_of, outcome_of
from tests.e2e.support.crashes import VARIANTS, Point, Replay, Variant, trace

MESSAGES = 50
SCENARIO = Path(__file__).with_name("spool_scenario.py")
#: Of the points between two promises every so many is tried; all of them with E2E_FULL=1.
STRIDE = 1 if os.environ.get("E2E_FULL") else 4


async def deliveries_after(directory: Path) -> list[tuple[PendingDelivery, bytes]]:
    """Recover it, look at all there is, and see that it takes another message."""
    async with open_spool(
        directory,
        run_blocking=inline,
        clock=lambda: ARRIVED,
        observer=lambda _: None,
        ballast=0,
    ) as spool:
        found = [
            (delivery, await read(spool, delivery.message))
            for delivery in await spool.find(Filter(), 1000)
        ]
        await spool.commit(await new_message(spool, content=b"another"))
    return found


def check_database(directory: Path) -> None:
    """It is whole, its counts are right, and no content file is without a row."""
    database = sqlite3.connect(directory / "spool.db")
    try:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        counted = database.execute(
            "SELECT (SELECT count(*) FROM message), (SELECT sum(size) FROM message), "
            "(SELECT count(*) FROM delivery WHERE status = 0), "
            "(SELECT count(*) FROM delivery WHERE status = 1)"
        ).fetchone()
        assert (
            counted
            == database.execute("SELECT messages, octets, queued, held FROM state").fetchone()
        )
        rows = database.execute("SELECT file FROM message WHERE file IS NOT NULL").fetchall()
    finally:
        database.close()
    assert sorted(os.listdir(directory / "content")) == sorted(name for (name,) in rows)


def check_promises(said: Sequence[str], found: Sequence[tuple[PendingDelivery, bytes]]) -> None:
    there: dict[int, PendingDelivery] = {}
    reports: set[int] = set()
    for delivery, content in found:
        number = int(delivery.recipients[0].recipient.forward_path.mailbox.local_part[1:])
        if delivery.lane == "reports":
            assert content == b"report %d" % number
            reports.add(number)
            continue
        assert content == content_of(number), f"the content of {number}"
        assert number not in there, f"{number} twice"
        assert len(delivery.recipients) == 2
        there[number] = delivery
    for number in range(MESSAGES):
        check_one(number, set(said), there.get(number), number in reports)


def check_one(
    number: int, said: set[str], delivery: PendingDelivery | None, has_report: bool
) -> None:
    what = outcome_of(number)
    will, did = f"will {what} {number}" in said, f"did {what} {number}" in said
    if f"will put {number}" not in said:
        assert delivery is None
    ends = what in ("finish", "report")
    if f"put {number}" in said and not (ends and will):
        assert delivery is not None, f"{number} is LOST"
    if did and ends:
        assert delivery is None, f"{number} is there although it was settled"
    if has_report:
        assert delivery is None, f"{number} is there, and so is the report about it"
        assert will
    if did and what == "report":
        assert has_report, f"the report about {number} is lost"
    if did and what == "hold":
        assert delivery is not None
        assert (delivery.status, delivery.reason) == (Status.HELD, "held")
    if did and what == "later":
        assert delivery is not None
        assert (delivery.attempts, delivery.due) == (1, ARRIVED + 1000)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    directory = tmp_path_factory.mktemp("recorded")
    shard = directory / "shard"
    command = [sys.executable, str(SCENARIO), str(shard), str(MESSAGES)]
    os.environ["PYTHONPATH"] = str(SCENARIO.parents[2])
    return shard, trace(command, directory)


def crash(replay: Replay, point: Point, variant: Variant, target: Path) -> None:
    replay.build(target, variant, Random(point.number))  # noqa: S311
    try:
        found = trio.run(deliveries_after, target)
        check_database(target)
        check_promises(point.said, found)
    except BaseException as error:
        error.add_note(f"after operation {point.number}, {point.operation}, variant {variant}")
        raise
    shutil.rmtree(target)


def test_what_was_said_holds_after_a_crash_at_any_write_or_sync(
    recorded: tuple[Path, list[str]], tmp_path: Path
) -> None:
    shard, lines = recorded
    replay, tried, kinds = Replay(shard, lines), Counter[Variant](), Counter[str]()
    said: tuple[str, ...] = ()
    for point in replay.points():
        kinds[point.operation.partition(" ")[0]] += 1
        is_promise, said = point.said != said, point.said
        if is_promise or point.number % STRIDE == 0 or "sync" in point.operation:
            for variant in VARIANTS:
                crash(replay, point, variant, tmp_path / "shard")
                tried[variant] += 1
    print(f"\n{point.number} operations ({dict(kinds)}), crashes tried: {dict(tried)}")
    assert replay.said[-1] == "done"
    assert sum(word.startswith("put ") for word in replay.said) == MESSAGES
    assert kinds["fdatasync"] + kinds["fsync"] > 20
    assert sum(tried.values()) > 500


def test_a_promise_before_its_sync_would_be_found(
    recorded: tuple[Path, list[str]], tmp_path: Path
) -> None:
    """The oracle can say no: told that nothing syncs, it misses what was acknowledged."""
    shard, lines = recorded
    unsynced = [line for line in lines if "sync(" not in line]
    replay = Replay(shard, unsynced)
    point = next(each for each in replay.points() if f"put {MESSAGES // 2}" in each.said)
    with pytest.raises((AssertionError, SpoolError)):
        crash(replay, point, "power", tmp_path / "shard")
