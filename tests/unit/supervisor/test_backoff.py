"""A worker that dies again and again is started ever more slowly, then given another chance."""

from __future__ import annotations

from edgerelay.supervisor.backoff import FIRST, FORGIVEN_AFTER, LONGEST, Backoff


def test_deaths_in_a_row_double_the_wait_up_to_a_bound() -> None:
    backoff = Backoff()

    waits = [backoff.after(1.0) for _ in range(10)]

    assert waits[:4] == [0.2, 0.4, 0.8, 1.6]
    assert waits[-1] == LONGEST


def test_a_long_life_is_forgiven() -> None:
    backoff = Backoff()
    for _ in range(5):
        backoff.after(1.0)

    assert backoff.after(FORGIVEN_AFTER) == FIRST
