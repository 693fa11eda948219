"""The reaper ends what is late, and nothing else."""

from __future__ import annotations

import trio
from trio.testing import MockClock

from edgerelay.net.reaper import Reaper
from edgerelay.testing.wake_ups import WakeUps


class Waiting:
    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.ended: list[float] = []

    def expire(self) -> None:
        self.ended.append(trio.current_time())


async def test_what_is_late_is_ended_within_two_seconds(autojump_clock: MockClock) -> None:
    reaper = Reaper()
    late, patient, gone = Waiting(10.5), Waiting(1000), Waiting(5)
    for each in (late, patient, gone):
        reaper.add(each)
    reaper.discard(gone)
    reaper.discard(gone)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reaper.run)
        await trio.sleep(12)
        nursery.cancel_scope.cancel()
    assert late.ended
    assert 10.5 <= late.ended[0] <= 12
    assert not patient.ended
    assert not gone.ended
    assert len(reaper) == 2


async def test_it_wakes_for_nothing_while_nothing_is_watched(autojump_clock: MockClock) -> None:
    reaper, late = Reaper(), Waiting(90_000)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reaper.run)
        await trio.sleep(1)
        with WakeUps() as woken:
            await trio.sleep(86_400)
            assert woken.steps == 0
            reaper.add(late)
            reaper.discard(late)
            await trio.sleep(60)
        assert woken.steps == 2  # it is told of the first one, and looks once
        late.deadline = trio.current_time() + 0.5
        reaper.add(late)
        await trio.sleep(3)
        nursery.cancel_scope.cancel()
    assert late.ended
