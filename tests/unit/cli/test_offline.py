"""The queue commands on the shards of a relay that is not running: real files."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import trio
from click.testing import Result

from edgerelay.runtime import in_thread
from edgerelay.spool import open_spool
from edgerelay.testing.check_spool import new_message, queued

Run = Callable[..., Result]
_clock = time.time  # noqa: TID251 - the commands look at the real clock, too


async def _put(shard: Path, address: str) -> str:
    async with open_spool(
        shard, run_blocking=in_thread, clock=_clock, observer=lambda _: None, min_free_space=0
    ) as spool:
        message = await new_message(spool, queued("mx", address), arrived=_clock())
        await spool.commit(message)
        return message.queue_id


@pytest.fixture
def ids(state: Path) -> list[str]:
    """A message in each of two shards of a relay that ended."""
    (state / "lock").touch()
    (state / "spool").mkdir()
    return [
        trio.run(_put, state / "spool" / shard, address)
        for shard, address in (("0", "a@example.com"), ("1", "b@example.org"))
    ]


def listed(run: Run, *options: str) -> list[str]:
    result = run("queue", "list", "--json", *options)
    assert result.exit_code == 0, result.stderr
    return [entry["queue_id"] for entry in json.loads(result.stdout)]


def test_every_shard_is_looked_into(run: Run, ids: list[str]) -> None:
    assert sorted(listed(run)) == sorted(ids)
    assert listed(run, "--domain", "example.org") == [ids[1]]


def test_changes_last(run: Run, ids: list[str]) -> None:
    assert run("queue", "hold", ids[0], "--reason", "look").exit_code == 0
    assert listed(run, "--status", "held") == [ids[0]]
    assert "held (look)" in run("queue", "show", ids[0]).stdout
    assert run("queue", "release", "--all").stdout == "1 delivery released\n"
    assert run("queue", "flush").stdout == "2 deliveries due now\n"
    assert run("queue", "delete", ids[0], "nothing").exit_code == 1
    assert listed(run) == [ids[1]]


def test_a_damaged_shard_is_told_and_nothing_is_done(
    run: Run, ids: list[str], state: Path
) -> None:
    (state / "spool" / "1" / "spool.db").write_bytes(b"not a database" * 1000)
    for leftover in (state / "spool" / "1").glob("spool.db-*"):
        leftover.unlink()
    result = run("queue", "list")
    assert result.exit_code == 1
    assert "shard 1" in result.stderr
    assert "Traceback" not in result.stderr
