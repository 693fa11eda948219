"""Lines that nobody will ask for come at a bounded rate, and a flood is told in sums.

A session without mail and without a refusal left nothing that a postmaster could look up: its
client has no queue id and no token. Of those, and of what was refused only to protect the relay,
some are written, and the others counted. Every other event passes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Final

from edgerelay.observe.events import (
    Event,
    Observer,
    RecipientRefused,
    SessionEnded,
    Shed,
    TurnedAway,
)

#: Lines a second, and at once after a quiet time.
RATE: Final = 20.0
BURST: Final = 200
#: Seconds between two sums.
TOLD_EVERY: Final = 10.0

_SHED_ENDS: Final = frozenset({"too many connections", "too many new connections", "stress"})

_PACED: Final = frozenset({SessionEnded, RecipientRefused, TurnedAway})


def shed_for(event: Event) -> str:
    """Why the relay refused this to protect itself, or ""."""
    if type(event) is SessionEnded:
        return event.end if event.end in _SHED_ENDS else ""
    if type(event) is RecipientRefused:
        return "no room" if event.reply.startswith("452 4.3.1") else ""
    if type(event) is TurnedAway:
        return event.why
    return ""


class Pace:
    """An observer in front of the log. Its owner calls `tell` every `TOLD_EVERY` seconds."""

    def __init__(self, log: Observer, clock: Callable[[], float]) -> None:
        self._log = log
        self._clock = clock
        self._since = clock()
        self._refused: Counter[str] = Counter()
        self._unwritten: Counter[str] = Counter()
        self._left = float(BURST)
        self._left_at = self._since

    def __call__(self, event: Event, /) -> None:
        if type(event) not in _PACED:
            return self._log(event)
        cause = shed_for(event)
        if cause:
            self._refused[cause] += 1
        if not (cause or _is_empty(event)) or self._may_pass():
            return self._log(event)
        self._unwritten[event.end if type(event) is SessionEnded else cause] += 1
        return None

    def tell(self) -> None:
        """Write the sums, if there is something to tell."""
        now = self._clock()
        if self._refused or self._unwritten:
            self._log(
                Shed(
                    refused=dict(self._refused),
                    unwritten=dict(self._unwritten),
                    seconds=round(now - self._since, 1),
                )
            )
            self._refused.clear()
            self._unwritten.clear()
        self._since = now

    def _may_pass(self) -> bool:
        now = self._clock()
        # A clock that was set back gives nothing, and takes nothing away.
        self._left = min(self._left + max(0.0, now - self._left_at) * RATE, BURST)
        self._left_at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


def _is_empty(event: Event) -> bool:
    return type(event) is SessionEnded and not (event.accepted or event.refused)
