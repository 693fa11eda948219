"""How old a message is, by a clock that somebody may set while we run.

A wall clock that jumps must neither send a whole queue back nor keep it for ever: its jumps
are compared with the monotonic clock, and forward ones are not counted as age.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from edgerelay.observe.events import Observer, Trouble
from edgerelay.runtime import Clock

#: Seconds by which the two clocks may drift apart between two looks; a jump is larger.
JUMP: Final = 3600.0


class Ages:
    """``monotonic`` gives seconds that nobody can set."""

    def __init__(self, clock: Clock, monotonic: Callable[[], float], observer: Observer) -> None:
        self._clock = clock
        self._monotonic = monotonic
        self._observer = observer
        self._offset = clock() - monotonic()
        self._jumped = 0.0

    def now(self) -> float:
        """Return the wall clock's time without its jumps forward."""
        wall = self._clock()
        offset = wall - self._monotonic()
        jump = offset - self._offset
        if abs(jump) > JUMP:
            self._offset = offset
            # Back: what is queued seems younger and expires later, which loses nothing.
            self._jumped = max(0.0, self._jumped + jump)
            self._observer(
                Trouble(
                    where="relay",
                    what="the wall clock jumped; expiry is postponed by as much",
                    detail=f"{jump:+.0f} s",
                )
            )
        else:
            self._offset = offset  # slow corrections are not jumps, however many
        return wall - self._jumped

    def age(self, arrived: float) -> float:
        """Return the seconds since a message arrived; never negative."""
        return max(0.0, self.now() - arrived)
