"""Whether a relay runs is known by its locks, never guessed."""

from __future__ import annotations

import fcntl
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from edgerelay.cli.output import NotSo
from edgerelay.cli.questions import stopped

Run = Callable[..., Result]


def test_where_no_relay_ever_ran_nothing_is_made(run: Run, state: Path) -> None:
    result = run("queue", "list")
    assert result.exit_code == 1
    assert result.stderr == f"edgerelay: no relay has ever run on {state}\n"
    assert list(state.iterdir()) == []


def test_a_relay_that_is_starting_is_left_alone(run: Run, state: Path) -> None:
    with (state / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        result = run("queue", "list")
    assert result.exit_code == 1
    assert "is starting or stopping: try again" in result.stderr


def test_meanwhile_no_relay_can_start(state: Path) -> None:
    (state / "lock").touch()
    with stopped(state), (state / "lock").open("w") as lock, pytest.raises(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with stopped(state):
        pass


def test_two_commands_do_not_meet(state: Path) -> None:
    (state / "lock").touch()
    with stopped(state), pytest.raises(NotSo, match="try again"), stopped(state):
        pass
