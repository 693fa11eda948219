"""Who cannot be called back is found within two seconds, and asked apart from then on."""

from __future__ import annotations

from typing import Any, cast

import trio
from trio.testing import MockClock

from edgerelay.pipeline.plan import Configured, Entry, Plan
from edgerelay.pipeline.watchdog import PATIENCE, Watchdog
from edgerelay.policy import CONTINUE, Policy, Stage, Verdict


async def hook(*_: object) -> Verdict:
    return CONTINUE


KIND = cast("type[Policy[Any]]", type("P", (Policy,), {"on_mail": hook}))
ENTRY: Entry = Plan([Configured("p", KIND, None)]).entries[Stage.MAIL][0]


async def test_who_ends_in_time_keeps_its_place(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    watchdog, stuck = Watchdog(), list[float]()
    nursery.start_soon(watchdog.run)
    watchdog.begin("one", 5.0, ENTRY, lambda: stuck.append(trio.current_time()))
    await trio.sleep(5.5)
    watchdog.end("one")
    watchdog.end("one")
    await trio.sleep(60)
    assert not stuck
    assert not watchdog.apart


async def test_who_does_not_is_told_of_once(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    watchdog, stuck = Watchdog(), list[float]()
    nursery.start_soon(watchdog.run)
    watchdog.begin("far", 500.0, ENTRY, lambda: stuck.append(-1))
    watchdog.begin("near", 5.0, ENTRY, lambda: stuck.append(trio.current_time()))
    await trio.sleep(60)
    (once,) = stuck
    assert 5 + PATIENCE <= once <= 5 + 2 * PATIENCE
    assert watchdog.apart == {("p", Stage.MAIL)}


async def test_with_nothing_to_watch_it_sleeps(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    nursery.start_soon(Watchdog().run)
    statistics = trio.lowlevel.current_statistics()
    await trio.sleep(86_400)
    assert statistics.seconds_to_next_deadline == float("inf")
