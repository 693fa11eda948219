"""How long a worker that died stays dead: a pure function of how it went before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

#: Seconds before the first restart, and at most before any: a start costs a third of a second
#: of CPU, and while a worker is away nobody delivers what is in its shard.
FIRST: Final = 0.2
LONGEST: Final = 5.0
#: A worker that lived this long (seconds) died of something new.
FORGIVEN_AFTER: Final = 60.0


@dataclass(slots=True)
class Backoff:
    """Doubles from 0.2 s to 5 s; starts over after a life of a minute."""

    _next: float = FIRST

    def after(self, lived: float) -> float:
        """Return how many seconds to wait, given how many the worker lived."""
        if lived >= FORGIVEN_AFTER:
            self._next = FIRST
        wait, self._next = self._next, min(self._next * 2, LONGEST)
        return wait
