"""One task ends the waits whose deadline has passed, and sees peers go whom nobody hears.

A cancel scope per read costs more than the read; a float that one task looks at once a
second costs nothing. It knows no sockets and no protocol, and sleeps while there are none.
"""

from __future__ import annotations

from typing import Never, Protocol

import trio


class Expiring(Protocol):
    deadline: float  #: absolute `trio.current_time()`

    def expire(self) -> None:
        """Let whoever waits on us at this moment raise `DeadlinePassed`; nobody: nothing."""


class Attentive(Protocol):
    def look(self) -> None:
        """See whether the peer is still there. Never blocks."""


class Reaper:
    """Scans what was added every ``interval`` seconds, and wakes for nothing else."""

    def __init__(self, interval: float = 1.0) -> None:
        self._interval = interval
        self._watched: set[Expiring] = set()
        self._attended: set[Attentive] = set()
        self._idle: trio.Event | None = None  # where `run` waits for the first one

    def __len__(self) -> int:
        return len(self._watched)

    def add(self, transport: Expiring) -> None:
        self._watched.add(transport)
        if self._idle is not None:
            self._idle.set()
            self._idle = None

    def discard(self, transport: Expiring) -> None:
        self._watched.discard(transport)

    def attend(self, transport: Attentive) -> None:
        """``transport`` is one of those that were added; `ignore` it before they go."""
        self._attended.add(transport)

    def ignore(self, transport: Attentive) -> None:
        self._attended.discard(transport)

    async def run(self) -> Never:
        """Look at every deadline until cancelled. Runs in the owner's nursery."""
        while True:
            if not self._watched:
                self._idle = trio.Event()
                await self._idle.wait()
            await trio.sleep(self._interval)
            now = trio.current_time()
            for transport in [one for one in self._watched if one.deadline <= now]:
                transport.expire()
            for attentive in list(self._attended):
                attentive.look()
