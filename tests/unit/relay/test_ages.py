"""Jumps of the wall clock do not age messages."""

from __future__ import annotations

from edgerelay.observe.events import Event, Trouble
from edgerelay.relay.ages import Ages


class Clocks:
    def __init__(self) -> None:
        self.wall = 1_000_000.0
        self.monotonic = 50.0
        self.events: list[Event] = []
        self.ages = Ages(lambda: self.wall, lambda: self.monotonic, self.events.append)

    def pass_(self, seconds: float) -> None:
        self.wall += seconds
        self.monotonic += seconds


def test_time_that_passes_is_age() -> None:
    clocks = Clocks()
    clocks.pass_(10 * 86400)
    assert clocks.ages.age(1_000_000.0) == 10 * 86400
    assert not clocks.events


def test_a_jump_forward_is_told_and_is_not_age() -> None:
    clocks = Clocks()
    clocks.pass_(100)
    clocks.wall += 30 * 86400
    assert clocks.ages.age(1_000_000.0) == 100
    (event,) = clocks.events
    assert isinstance(event, Trouble)
    clocks.pass_(50)
    assert clocks.ages.age(1_000_000.0) == 150
    assert len(clocks.events) == 1


def test_a_jump_back_makes_nothing_older() -> None:
    clocks = Clocks()
    clocks.wall -= 30 * 86400
    assert clocks.ages.age(1_000_000.0) == 0
    clocks.pass_(60)
    assert clocks.ages.age(clocks.wall - 60) == 60


def test_a_jump_that_is_taken_back_leaves_nothing_behind() -> None:
    clocks = Clocks()
    clocks.wall += 86400
    clocks.ages.now()
    clocks.wall -= 86400
    clocks.pass_(10)
    assert clocks.ages.age(1_000_000.0) == 10


def test_slow_corrections_are_no_jumps() -> None:
    clocks = Clocks()
    for _ in range(100):
        clocks.pass_(60)
        clocks.wall += 100
        clocks.ages.now()
    assert not clocks.events
