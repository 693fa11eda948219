"""The kernel's own answers to a sync are changed: what the spool says follows them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CHILD = Path(__file__).with_name("spool_child.py")


def run(directory: Path, inject: str, count: int, tasks: int) -> list[list[str]]:
    """Run the child under strace; return the words of its lines."""
    strace = shutil.which("strace")
    assert strace, "install strace"
    child = [sys.executable, str(CHILD), str(directory), f"--count={count}", f"--tasks={tasks}"]
    result = subprocess.run(
        [strace, "-f", "-qq", "-o", "/dev/null", "-e", f"inject={inject}", *child],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=60,
        check=False,
    )
    return [line.split() for line in result.stdout.decode().splitlines()]


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    """One that exists: making one syncs too, and would fail before anything is committed."""
    run_plainly = [sys.executable, str(CHILD), str(tmp_path / "shard"), "--count=1"]
    subprocess.run(run_plainly, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    return tmp_path / "shard"


def test_no_commit_is_acknowledged_before_its_sync_has_ended(shard: Path) -> None:
    lines = run(shard, "fdatasync,fsync:delay_exit=300000", 24, 8)
    times = [float(line[2]) for line in lines if line[0] == "put"]
    assert len(times) == 24
    assert min(times) >= 0.3


def test_no_commit_is_acknowledged_when_its_sync_fails(shard: Path) -> None:
    # Recovery syncs a few times too. The smallest number of syncs with which the shard opens
    # is the one after which every sync of a commit fails (strace counts each call by itself).
    for good in range(20):
        copy = shard.with_name(str(good))
        shutil.copytree(shard, copy)
        lines = run(copy, f"fdatasync:error=EIO:when={good + 1}+", 3, 1)
        if lines:
            break
    words = [" ".join(line[:2]) for line in lines]
    assert words == ["ready", *["failed SpoolUnavailable"] * 3, "done"]


def test_a_spool_that_cannot_sync_does_not_open(shard: Path) -> None:
    assert run(shard, "fdatasync,fsync:error=EIO", 1, 1) == []
