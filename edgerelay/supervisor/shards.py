"""Which worker owns which shard, and who is asked to adopt one that nobody owns.

What is known here is what the workers say and what lies on the disk. It decides who is asked;
whose a shard is, its lock decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Never, Protocol

import trio

from edgerelay.observe.events import Observer, Trouble
from edgerelay.spool.names import new_names, shard_names

#: Seconds until a shard that could not be adopted is offered again: twice as long each time.
#: It may be a worker's whose supervisor was killed, and that has up to `drain` to end.
FIRST_PAUSE: Final = 0.5
LONGEST_PAUSE: Final = 10.0
#: Seconds without an owner after which an operator is told.
TELL_AFTER: Final = 60.0


class Owner(Protocol):
    """A worker, as far as its shards go."""

    shards: tuple[str, ...]  #: what it said that it owns
    promised: str  #: what it will start with; "": nothing

    @property
    def may_adopt(self) -> bool:
        """It runs, and is not about to leave."""

    async def adopt(self, shard: str) -> None:
        """Ask it to; what came of it is seen in ``shards``."""


@dataclass(slots=True)
class _Orphan:
    since: float
    pause: float = FIRST_PAUSE
    next_offer: float = float("-inf")
    is_told: bool = False


class Shards:
    """``workers`` are all that live, at any time."""

    def __init__(self, spool: Path, workers: Sequence[Owner], observer: Observer) -> None:
        self._spool = spool
        self._workers = workers
        self._observer = observer
        self._orphans: dict[str, _Orphan] = {}
        self._changed = trio.Event()

    def without_owner(self) -> list[str]:
        """Shards that no worker has, nor will begin with."""
        taken = self._taken()
        try:
            return [name for name in shard_names(self._spool) if name not in taken]
        except OSError:  # the disk: whoever opens a shard will say so, and we live
            return []

    def for_a_start(self, before: str = "") -> str:
        """Name the shard that a worker is to start with: ``before``, a free one, a new one."""
        free = self.without_owner()
        if before in free:
            return before
        try:
            return free[0] if free else next(new_names(self._spool, self._taken()))
        except OSError:
            return before or "0"

    def look(self) -> None:
        """A worker started or ended, or owns others than before."""
        self._changed.set()

    async def all_owned(self, within: float) -> list[str]:
        """Wait for those without an owner to get one; return those that have none even so."""
        with trio.move_on_after(within):
            while self.without_owner():
                await self._changed.wait()
                await trio.lowlevel.checkpoint()  # `run` has its turn, and waits for another one
        return self.without_owner()

    async def run(self) -> Never:
        """Offer what nobody owns to whom owns least; sleep while everything is owned."""
        while True:
            self._changed = trio.Event()
            wait = await self._offer_all()
            with trio.move_on_after(wait):
                await self._changed.wait()

    async def _offer_all(self) -> float:
        """Return in how many seconds there is something to do unless something changes."""
        now = trio.current_time()
        free = self.without_owner()
        self._orphans = {name: self._orphans.get(name) or _Orphan(now) for name in free}
        asked: list[Owner] = []
        for name, orphan in self._orphans.items():
            if now >= orphan.next_offer and (owner := self._who_may(asked)):
                asked.append(owner)
                orphan.next_offer = now + orphan.pause
                orphan.pause = min(2 * orphan.pause, LONGEST_PAUSE)
                await owner.adopt(name)
            if now - orphan.since >= TELL_AFTER and not orphan.is_told:
                orphan.is_told = True
                what = "no worker could adopt it for a minute: its mail waits"
                self._observer(Trouble(where=f"shard {name}", what=what))
        if not self._orphans:
            return float("inf")
        soonest = min(orphan.next_offer for orphan in self._orphans.values())
        return max(FIRST_PAUSE, soonest - now)

    def _who_may(self, asked: Sequence[Owner]) -> Owner | None:
        able = [worker for worker in self._workers if worker.may_adopt]
        return min(able, key=lambda one: len(one.shards) + asked.count(one), default=None)

    def _taken(self) -> set[str]:
        taken = {name for worker in self._workers for name in worker.shards}
        return taken | {worker.promised for worker in self._workers}
