"""A worker's part of the status."""

from __future__ import annotations

from dataclasses import dataclass

from edgerelay.control.messages import LaneStatus
from edgerelay.control.status import worker_status
from edgerelay.observe.counters import Counters
from edgerelay.spool import open_memory_spool


@dataclass
class Lane:
    name: str
    queued: int = 0
    active: int = 0
    paused_until: float | None = None
    last_failure: str = ""


async def test_paused_lanes_come_first_then_the_longest() -> None:
    lanes = [Lane("a", 1), Lane("b", 5), Lane("c", 0, 0, 99.0, "451 later\r\nx")]
    async with open_memory_spool(clock=lambda: 0.0) as spool:
        status = await worker_status(
            worker=2,
            pid=7,
            state="running",
            counters=Counters(),
            policies={"spf": {"reject": 2}},
            gauges={"sessions": 3},
            shards={"0": spool},
            lanes=lanes,
            dropped_events=4,
        )
    assert status.lanes == (
        LaneStatus(
            name="c", queued=0, active=0, paused_until=99.0, last_failure=r"451 later\r\nx"
        ),
        LaneStatus(name="b", queued=5, active=0),
        LaneStatus(name="a", queued=1, active=0),
    )
    assert (status.worker, status.pid, status.dropped_events) == (2, 7, 4)
    assert status.policies == {"spf": {"reject": 2}}
    assert status.gauges == {"sessions": 3}
    assert status.queue.messages == 0
    assert status.queue.accepting
