"""A client that spreads over the workers meets one limit."""

from __future__ import annotations

from collections import Counter

import trio
from trio.testing import MockClock

from edgerelay.supervisor.clients import counts_elsewhere, share_counts


def test_a_client_near_its_limit_is_known_everywhere() -> None:
    here, there = {"192.0.2.1": 20}, {"192.0.2.1": 10, "192.0.2.2": 1}

    assert counts_elsewhere([here, there], limit=50) == [{"192.0.2.1": 10}, {"192.0.2.1": 20}]


def test_a_client_far_from_its_limit_is_nobodys_business() -> None:
    assert counts_elsewhere([{"192.0.2.1": 12}, {"192.0.2.1": 13}], limit=50) == [{}, {}]


class Recorder:
    """A worker that writes down what it is told."""

    def __init__(self, counts: dict[str, int]) -> None:
        self.counts = counts
        self.others: dict[str, int] = {}
        self.arrivals: Counter[str] = Counter()
        self.told: list[dict[str, int]] = []
        self.new: list[dict[str, int]] = []

    async def tell_others_counts(self, counts: dict[str, int], arrivals: dict[str, int]) -> None:
        self.others = counts
        self.told.append(counts)
        self.new.append(arrivals)


async def test_a_worker_is_told_what_changed_and_nothing_else(autojump_clock: MockClock) -> None:
    busy, idle = Recorder({"192.0.2.1": 30}), Recorder({})
    async with trio.open_nursery() as nursery:
        nursery.start_soon(share_counts, [busy, idle], lambda: 50)
        await trio.sleep(1)
        busy.counts = {}
        await trio.sleep(1)
        nursery.cancel_scope.cancel()

    assert idle.told == [{"192.0.2.1": 30}, {}]
    assert busy.told == []


async def test_a_new_process_is_told_again(autojump_clock: MockClock) -> None:
    busy, restarted = Recorder({"192.0.2.1": 30}), Recorder({})
    async with trio.open_nursery() as nursery:
        nursery.start_soon(share_counts, [busy, restarted], lambda: 50)
        await trio.sleep(1)
        restarted.others = {}
        await trio.sleep(1)
        nursery.cancel_scope.cancel()

    assert restarted.told == [{"192.0.2.1": 30}, {"192.0.2.1": 30}]


async def test_a_new_connection_is_told_to_the_others_once(autojump_clock: MockClock) -> None:
    first, second = Recorder({}), Recorder({})
    first.arrivals.update({"192.0.2.1": 3})
    async with trio.open_nursery() as nursery:
        nursery.start_soon(share_counts, [first, second], lambda: 50)
        await trio.sleep(1)
        nursery.cancel_scope.cancel()

    assert (first.new, second.new) == ([], [{"192.0.2.1": 3}])
