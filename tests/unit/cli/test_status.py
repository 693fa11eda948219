"""`edgerelay status`, for people and for programs."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from click.testing import Result

from edgerelay.control.messages import (
    Failure,
    LaneStatus,
    Message,
    QueueStatus,
    Response,
    StatusAnswer,
    StatusRequest,
    WorkerStatus,
)

Run = Callable[..., Result]
Relay = Callable[[Response], AbstractContextManager[list[Message]]]

ANSWER = StatusAnswer(
    version="0.1.0",
    uptime=3725.0,
    pid=100,
    listeners=("127.0.0.1:25",),
    workers=(
        WorkerStatus(
            worker=0,
            pid=101,
            counts={"accepted": 12_345, "delivered": 12_000, "deferred": 7},
            gauges={"sessions": 3, "content": 4096},
            queue=QueueStatus(messages=2, queued=3, held=1, octets=8192, free=2**30),
            lanes=(
                LaneStatus(
                    name="smtp://10.0.0.5:25",
                    queued=2,
                    active=1,
                    paused_until=2.0**40,
                    last_failure="connection refused",
                ),
            ),
        ),
        WorkerStatus(
            worker=1,
            pid=102,
            state="draining",
            restarts=2,
            queue=QueueStatus(free=2**20, accepting=False),
            dropped_events=5,
        ),
    ),
    shards_without_owner=("7",),
)


def test_people_see_what_matters(run: Run, relay: Relay) -> None:
    with relay(ANSWER) as asked:
        result = run("status")
    assert result.exit_code == 0
    assert asked == [StatusRequest()]
    lines = result.stdout.splitlines()
    assert lines[0] == "edgerelay 0.1.0, pid 100, up 1h 2m, listening on 127.0.0.1:25"
    assert lines[1] == "Queue: 2 messages (8.0 KiB), 3 queued, 1 held, 1.0 MiB free"
    assert lines[2] == "Worker 1 takes no new mail: its disk is full or failing"
    rows = [line.split() for line in lines]
    assert ["0", "101", "running", "3", "12,345", "0", "12,000", "7", "0", "0"] in rows
    assert ["1", "102", "draining", "0", "0", "0", "0", "0", "0", "2"] in rows
    (lane,) = [line for line in lines if line.startswith("smtp://")]
    assert lane.endswith("connection refused")
    assert "Now: content 4,096, sessions 3" in lines
    assert "5 events were dropped from the log" in lines
    assert "Mail waits in shards that no worker has adopted yet: 7" in lines


def test_programs_get_all_of_it(run: Run, relay: Relay) -> None:
    with relay(ANSWER):
        told = json.loads(run("status", "--json").stdout)
    assert told["version"] == "0.1.0"
    assert told["workers"][0]["lanes"][0]["last_failure"] == "connection refused"
    assert told["workers"][1]["state"] == "draining"


def test_a_relay_that_does_not_run_is_one_clear_line(run: Run, state: Path) -> None:
    result = run("status")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr == f"edgerelay: no relay is running on {state}\n"


def test_a_relay_that_cannot_answer_is_not_good(run: Run, relay: Relay, state: Path) -> None:
    with relay(Failure(text="no answer within 60 s")):
        result = run("status")
    assert result.exit_code == 1
    assert result.stderr == f"edgerelay: cannot ask the relay on {state}: no answer within 60 s\n"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may open everything")
def test_whoever_may_not_ask_is_told_so(run: Run, relay: Relay, state: Path) -> None:
    with relay(ANSWER):
        (state / "control.sock").chmod(0)
        result = run("status")
        (state / "control.sock").chmod(0o600)
    assert result.exit_code == 1
    assert "Permission denied" in result.stderr
