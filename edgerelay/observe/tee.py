"""Several observers behind one."""

from __future__ import annotations

from edgerelay.observe.events import Event, Observer


def tee(*observers: Observer) -> Observer:
    """Return an observer that gives every event to each of these, in their order."""

    def observe(event: Event, /) -> None:
        for observer in observers:
            observer(event)

    return observe
