"""Counts of what happened since this process began, for `edgerelay status`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, Final

from edgerelay.observe.events import (
    Delivery,
    Event,
    Held,
    LaneDown,
    MessageAccepted,
    RecipientRefused,
    Reported,
    SessionEnded,
    TurnedAway,
)
from edgerelay.observe.pace import shed_for

_OUTCOMES: Final = {"2": "delivered", "4": "deferred", "5": "failed"}


class Counters:
    """An observer that adds up. Keys of `counts`, all from zero:

    sessions (ended), accepted (messages), octets (of accepted messages), refused, delivered,
    deferred and failed (recipients), reports, held (deliveries), lane_down, shed (connections
    and transactions refused to protect the relay).
    """

    def __init__(self) -> None:
        self.counts: Final[Counter[str]] = Counter()
        # A table from class to function: an event is counted with one look-up, and most
        # kinds of event not at all.
        self._count: Final[dict[type[Event], Callable[[Any], None]]] = {
            SessionEnded: self._session,
            TurnedAway: lambda _: self._add("shed"),
            MessageAccepted: self._accepted,
            RecipientRefused: self._refused,
            Delivery: self._delivery,
            Reported: lambda _: self._add("reports"),
            Held: lambda _: self._add("held"),
            LaneDown: lambda _: self._add("lane_down"),
        }

    def __call__(self, event: Event, /) -> None:
        if count := self._count.get(type(event)):
            count(event)

    def _add(self, what: str, n: int = 1) -> None:
        self.counts[what] += n

    def _session(self, event: SessionEnded) -> None:
        self._add("sessions")
        if shed_for(event):
            self._add("shed")

    def _refused(self, event: RecipientRefused) -> None:
        self._add("refused")
        if shed_for(event):
            self._add("shed")

    def _accepted(self, event: MessageAccepted) -> None:
        self._add("accepted")
        self._add("octets", event.size)

    def _delivery(self, event: Delivery) -> None:
        if event.outcome != "mixed":
            self._add(event.outcome, len(event.recipients))
            return
        for _, reply in event.recipients:
            self._add(_OUTCOMES.get(reply[:1], "deferred"))
