"""The writer never holds up whoever tells it something, and never loses a line in silence."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from edgerelay.observe.events import LaneUp, Trouble
from edgerelay.observe.log import ATOMIC, LogWriter


class Pipe:
    """A stream whose far end the test holds."""

    def __init__(self) -> None:
        self.far, self._near = os.pipe()
        self._open = {self.far, self._near}

    def fileno(self) -> int:
        return self._near

    def isatty(self) -> bool:
        return False

    def close(self, fd: int) -> None:
        if fd in self._open:
            self._open.discard(fd)
            os.close(fd)

    def close_near(self) -> None:
        self.close(self._near)

    def read_all(self) -> list[dict[str, Any]]:
        """What was written until the near end was closed."""
        self.close_near()
        with open(self.far, "rb") as file:
            self._open.discard(self.far)
            return [json.loads(line) for line in file]


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    pipe.close(pipe.far)
    pipe.close_near()


def clock() -> float:
    return 0.0


def test_events_become_lines_in_order(pipe: Pipe) -> None:
    with LogWriter(pipe, clock=clock, worker=1) as log:
        for number in range(100):
            log(LaneUp(lane=str(number)))
    lines = pipe.read_all()
    assert [line["lane"] for line in lines] == [str(number) for number in range(100)]
    assert {line["worker"] for line in lines} == {1}
    assert log.dropped == 0


def test_what_does_not_fit_is_dropped_and_told(pipe: Pipe) -> None:
    """A pipe holds 64 KiB; then the writer waits, the queue fills, and callers go on."""
    log = LogWriter(pipe, clock=clock, capacity=20)
    big = Trouble(where="test", what="x" * 30_000)
    for _ in range(200):
        log(big)
    assert log.dropped >= 170
    seen: list[dict[str, Any]] = []
    reader = threading.Thread(target=lambda: seen.extend(_lines(pipe.far)))
    reader.start()
    assert log.close()
    pipe.close_near()
    reader.join()
    dropped = sum(line["count"] for line in seen if line["event"] == "dropped")
    assert dropped == log.dropped
    assert sum(line["event"] == "trouble" for line in seen) + dropped == 200


def _lines(fd: int) -> list[dict[str, Any]]:
    with open(fd, "rb", closefd=False) as file:
        return [json.loads(line) for line in file]


def test_close_ends_within_its_bound_though_nobody_reads(pipe: Pipe) -> None:
    log = LogWriter(pipe, clock=clock)
    log(Trouble(where="test", what="x" * 200_000))
    assert not log.close(within=0.05)
    assert len(_drain(pipe)) > 0  # lets the thread end


def _drain(pipe: Pipe) -> bytes:
    data = b""
    while not data.endswith(b"\n"):
        data += os.read(pipe.far, 1 << 20)
    return data


def test_a_reader_that_went_away_is_no_trouble(pipe: Pipe) -> None:
    pipe.close(pipe.far)
    with LogWriter(pipe, clock=clock) as log:
        log(LaneUp(lane="a"))
        log(LaneUp(lane="b"))
    assert log.dropped == 2


def test_a_stream_that_was_closed_is_no_trouble(pipe: Pipe) -> None:
    log = LogWriter(pipe, clock=clock)
    pipe.close_near()
    log(LaneUp(lane="a"))
    log.close()
    assert log.dropped == 1


def test_a_stream_that_does_not_block_is_waited_for(pipe: Pipe) -> None:
    os.set_blocking(pipe.fileno(), False)
    log = LogWriter(pipe, clock=clock)
    log(Trouble(where="test", what="x" * 200_000))
    assert len(_drain(pipe)) > 200_000
    assert log.close()
    assert log.dropped == 0


def test_writes_are_whole_lines_that_a_pipe_takes_in_one_piece() -> None:
    lines = [b"x" * 1000 + b"\n"] * 10 + [b"y" * 9000 + b"\n"] + [b"z\n"]
    batches = [b"".join(batch) for batch in LogWriter._batches(lines)]
    assert b"".join(batches) == b"".join(lines)
    assert all(batch.endswith(b"\n") for batch in batches)
    assert all(len(batch) <= ATOMIC for batch in batches if b"y" not in batch)
    assert len(batches) == 5


def test_closing_twice_is_closing(pipe: Pipe) -> None:
    log = LogWriter(pipe, clock=clock)
    assert log.close()
    assert log.close()
