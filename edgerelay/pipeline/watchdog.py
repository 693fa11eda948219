"""Finds policies that no cancellation reaches, so that they cost a session once and no more.

A policy is asked in the session's own task until it answers. One that shields itself there, or
waits for a thread, holds the session past its deadline, and nothing can take the task back from
it. So whoever is late by `PATIENCE` loses that place: its session ends, and from then on it is
asked in a task apart, where being late costs nothing but its own answer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Never

import trio

from edgerelay.pipeline.plan import Entry
from edgerelay.policy import Stage

#: Seconds after its deadline in which a policy may still unwind.
PATIENCE: Final = 1.0


class Watchdog:
    """One for all sessions of a worker; whoever makes it runs `run`."""

    def __init__(self) -> None:
        self.apart: set[tuple[str, Stage]] = set()  #: to be asked in tasks of their own
        self._waiting: dict[object, tuple[float, Entry, Callable[[], None]]] = {}
        self._something = trio.Event()

    def begin(self, key: object, limit: float, entry: Entry, stuck: Callable[[], None]) -> None:
        """``key`` waits inside ``entry`` until ``limit``; after it ``stuck`` is called once."""
        self._waiting[key] = (limit, entry, stuck)
        self._something.set()

    def end(self, key: object) -> None:
        """It has its task back. Idempotent."""
        self._waiting.pop(key, None)

    async def run(self) -> Never:
        while True:
            if not self._waiting:
                self._something = trio.Event()
                await self._something.wait()
            await trio.sleep(PATIENCE)
            self.look()

    def look(self) -> None:
        """Take the place of those who are too late by now."""
        now = trio.current_time()
        late = [key for key, (limit, _, _) in self._waiting.items() if limit + PATIENCE <= now]
        for key in late:
            _, entry, stuck = self._waiting.pop(key)
            self.apart.add((entry.name, entry.stage))
            stuck()
