"""One worker's part of the status, put together from those who know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from edgerelay.control.messages import LaneStatus, QueueStatus, WorkerStatus
from edgerelay.observe.counters import Counters
from edgerelay.observe.escape import escape
from edgerelay.spool.api import Spool

#: Lanes told of: paused ones first, then the longest queues.
MAX_LANES = 1000


class LaneNow(Protocol):
    """What the relay says of one lane: see `edgerelay.relay`."""

    @property
    def name(self) -> str: ...
    @property
    def queued(self) -> int: ...
    @property
    def active(self) -> int: ...
    @property
    def paused_until(self) -> float | None: ...
    @property
    def last_failure(self) -> str: ...


async def worker_status(
    *,
    worker: int,
    pid: int,
    state: str,
    counters: Counters,
    policies: Mapping[str, Mapping[str, int]] = {},
    gauges: Mapping[str, int],
    shards: Mapping[str, Spool],
    lanes: Sequence[LaneNow],
    dropped_events: int,
) -> WorkerStatus:
    """Ask the shards for their gauges and write it all down. The first is the worker's own."""
    queues = [await spool.gauges() for spool in shards.values()]
    own = queues[0]
    told = sorted(lanes, key=lambda lane: (not lane.paused_until, -lane.queued))
    return WorkerStatus(
        worker=worker,
        pid=pid,
        state=state,
        shards=tuple(shards),
        counts=dict(counters.counts),
        gauges=dict(gauges),
        queue=QueueStatus(
            messages=sum(queue.messages for queue in queues),
            queued=sum(queue.queued for queue in queues),
            held=sum(queue.held for queue in queues),
            octets=sum(queue.octets for queue in queues),
            free=own.free,
            accepting=own.accepting,
        ),
        lanes=tuple(_lane(lane) for lane in told[:MAX_LANES]),
        policies={name: dict(counts) for name, counts in policies.items()},
        dropped_events=dropped_events,
    )


def _lane(lane: LaneNow) -> LaneStatus:
    return LaneStatus(
        name=escape(lane.name, 300),
        queued=lane.queued,
        active=lane.active,
        paused_until=lane.paused_until or 0.0,
        last_failure=escape(lane.last_failure, 500),
    )
