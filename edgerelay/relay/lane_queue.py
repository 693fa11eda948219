"""The part of a lane that is in memory: due deliveries in order, and those being tried.

Pure bookkeeping: no task, no clock, no disk. It keeps two promises: a delivery is never here
twice, and what is here is bounded; the rest stays on disk, where `on_disk` says it may be.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Container, Sequence
from typing import Final

from edgerelay.spool.api import PendingDelivery

#: Deliveries waiting in memory, of one lane; about 1 KiB each.
WINDOW: Final = 1000
#: Their recipients, of one lane: a delivery may have a thousand, 0.3 KiB each.
WINDOW_RECIPIENTS: Final = 10_000


class LaneQueue:
    """``claimed`` are keys somebody else is changing; they are neither kept nor given out."""

    def __init__(self, claimed: Container[int], *, on_disk: bool) -> None:
        self._claimed = claimed
        self._window: OrderedDict[int, PendingDelivery] = OrderedDict()
        self._recipients = 0
        self.in_flight: dict[int, PendingDelivery] = {}
        self.on_disk = on_disk  #: due deliveries may be on disk that are not here
        self._left_on_disk = False  # since the last `start_refill`

    def __len__(self) -> int:
        return len(self._window)

    @property
    def is_empty(self) -> bool:
        return not (self._window or self.in_flight or self.on_disk)

    @property
    def wants_refill(self) -> bool:
        return self.on_disk and len(self._window) < WINDOW // 2 and self._has_room()

    @property
    def refill_limit(self) -> int:
        """How many to ask the disk for: it has what is here, too."""
        return WINDOW + len(self.in_flight)

    def offer(self, delivery: PendingDelivery) -> None:
        """Take a delivery that has just become due, unless others are on disk before it."""
        if self.on_disk or not self._has_room():
            self.leave_on_disk()
        else:
            self._add(delivery)

    def leave_on_disk(self) -> None:
        """Note that there is something due on disk that is not here."""
        self.on_disk = self._left_on_disk = True

    def take(self) -> PendingDelivery | None:
        """Give out the oldest; it is in flight until `done` or `give_back`."""
        if not self._window:
            return None
        key, delivery = self._window.popitem(last=False)
        self._recipients -= len(delivery.recipients)
        self.in_flight[key] = delivery
        return delivery

    def give_back(self, key: int) -> None:
        """It was not tried after all: it is the first again."""
        self._add(self.in_flight.pop(key))
        self._window.move_to_end(key, last=False)

    def done(self, key: int) -> None:
        """It was tried, and what followed is recorded."""
        del self.in_flight[key]

    def withdraw(self, key: int) -> bool:
        """Somebody wants to change it: forget it. False if it is in flight."""
        if delivery := self._window.pop(key, None):
            self._recipients -= len(delivery.recipients)
        return key not in self.in_flight

    def spill(self) -> None:
        """Forget what waits; the disk has it."""
        if self._window:
            self._window.clear()
            self._recipients = 0
            self.leave_on_disk()

    def start_refill(self) -> None:
        """A question to the disk begins: what changes from now on its answer may not know."""
        self._left_on_disk = False

    def refill(
        self, found: Sequence[PendingDelivery], stale: Container[int], *, complete: bool
    ) -> None:
        """Merge what the disk answered, oldest due first. ``complete``: there is no more.

        ``stale`` are keys whose deliveries have changed since the question was asked.
        """
        for delivery in found:
            if not self._has_room():
                complete = False
                break
            key = delivery.key
            if key not in stale and not self._is_taken_care_of(key):
                self._add(delivery)
        self.on_disk = not complete or self._left_on_disk
        in_order = sorted(self._window.values(), key=lambda one: (one.due, one.key))
        self._window = OrderedDict((one.key, one) for one in in_order)

    def _is_taken_care_of(self, key: int) -> bool:
        return key in self._window or key in self.in_flight or key in self._claimed

    def _has_room(self) -> bool:
        return len(self._window) < WINDOW and self._recipients < WINDOW_RECIPIENTS

    def _add(self, delivery: PendingDelivery) -> None:
        self._window[delivery.key] = delivery
        self._recipients += len(delivery.recipients)
