"""Several observers behind one."""

from __future__ import annotations

from edgerelay.observe.events import Event, LaneUp
from edgerelay.observe.tee import tee


def test_each_observer_gets_each_event_in_order() -> None:
    seen: list[tuple[str, Event]] = []
    both = tee(lambda event: seen.append(("a", event)), lambda event: seen.append(("b", event)))
    up = LaneUp(lane="mx")
    both(up)
    assert seen == [("a", up), ("b", up)]
