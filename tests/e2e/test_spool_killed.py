"""kill -9 of a process that commits: whatever it said was durable is there, whole, once."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import trio

from edgerelay.runtime import in_thread
from edgerelay.spool import open_spool
from edgerelay.spool.api import Filter
from edgerelay.testing.check_spool import read

ROOT = Path(__file__).parents[2]
CHILD = Path(__file__).with_name("spool_child.py")
ROUNDS = 8


def run_and_kill(directory: Path, after: float) -> set[str]:
    """Return the queue ids that the child printed before it was killed."""
    child = subprocess.Popen(
        [sys.executable, str(CHILD), str(directory), "--settle"],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert child.stdout is not None
    assert child.stdout.readline() == b"ready\n"
    time.sleep(after)  # noqa: TID251  a real process under real load, in a thread
    child.send_signal(signal.SIGKILL)
    lines = child.stdout.read().decode().splitlines()
    child.stdout.close()
    assert child.wait(10) == -signal.SIGKILL
    assert not [line for line in lines if line.startswith("failed")]
    return {line.split()[1] for line in lines if line.count(" ") == 2}


def is_settled(queue_id: str) -> bool:
    """The child finishes every message whose number is odd."""
    alphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
    return bool(alphabet.index(queue_id[9]) & 1)


async def test_every_acknowledged_message_is_there(tmp_path: Path) -> None:
    acknowledged: set[str] = set()
    for round_ in range(ROUNDS):
        directory = tmp_path / "shard"
        acknowledged |= await in_thread(partial(run_and_kill, directory, 0.1 + 0.07 * round_))
        async with open_spool(
            directory, run_blocking=in_thread, clock=lambda: 2e9, observer=lambda _: None
        ) as spool:
            with trio.fail_after(60):
                found = await spool.find(Filter(), 10**9)
                kept = {each.message.queue_id for each in found}
                assert len(kept) == len(found), "nothing is there twice"
                lost = {each for each in acknowledged if not is_settled(each)} - kept
                assert not lost
                for each in found[-200:]:
                    content = await read(spool, each.message)
                    assert set(content.split(b"\r\n")) == {each.message.queue_id.encode(), b""}
                gauges = await spool.gauges()
                assert (gauges.messages, gauges.queued) == (len(found), len(found))
        database = sqlite3.connect(directory / "spool.db")
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        files = {name for (name,) in database.execute("SELECT file FROM message WHERE file <> ''")}
        database.close()
        assert files == set(os.listdir(directory / "content"))
    print(f"{ROUNDS} kills, {len(acknowledged)} acknowledged, none lost")
    assert len(acknowledged) > 100
