"""The shards that one worker owns: its own, which takes mail, and those it has adopted.

A shard outlives the worker that filled it: by a crash, by a rolling restart, by fewer workers.
Whoever adopts it delivers what is in it, and when nothing is left removes it. The lock of the
shard decides whose it is; that a worker is asked to adopt one proves nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Never

import trio

from edgerelay.observe.events import Observer, ShardAdopted, Trouble
from edgerelay.relay.relay import Relay
from edgerelay.spool import SqliteSpool
from edgerelay.spool.api import Spool, SpoolError, SpoolLocked

#: Opens and owns the shard of that name for the length of a block. Raises `SpoolError`.
OpenShard = Callable[[str], AbstractAsyncContextManager[SqliteSpool]]


@dataclass(frozen=True, slots=True)
class Shard:
    """A shard we own, and what delivers from it."""

    name: str
    spool: SqliteSpool
    relay: Relay


class Shards:
    """``relay_for`` makes what delivers from a shard that is opened later."""

    def __init__(
        self,
        own: Shard,
        open_shard: OpenShard,
        relay_for: Callable[[Spool], Relay],
        observer: Observer,
    ) -> None:
        self.own = own
        self._open_shard = open_shard
        self._relay_for = relay_for
        self._observer = observer
        self._adopted: dict[str, Shard | None] = {}  # None: we try to, or close it
        self._nursery: trio.Nursery | None = None

    @property
    def owned(self) -> tuple[Shard, ...]:
        return (self.own, *(shard for shard in self._adopted.values() if shard))

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(shard.name for shard in self.owned)

    async def run(self) -> Never:
        """Deliver from all of them until cancelled."""
        async with trio.open_nursery() as self._nursery:
            try:
                await self.own.relay.run()
            finally:
                self._nursery = None
        raise AssertionError("unreachable: a relay runs until it is cancelled")

    def adopt(self, name: str) -> None:
        """Deliver from that shard too, if nobody owns it. Before and after `run`: nothing."""
        if self._nursery is not None and name not in (self.own.name, *self._adopted):
            self._adopted[name] = None
            self._nursery.start_soon(self._keep, name)

    def hurry(self, lane: str) -> None:
        """A lane's next hop is up again: see `Relay.hurry`."""
        for shard in self.owned:
            shard.relay.hurry(lane)

    async def _keep(self, name: str) -> None:
        """Own a shard until it is empty. A fault in it ends nothing but our ownership."""
        try:
            async with self._open_shard(name) as spool:
                spool.is_kept = False
                await self._deliver_all(Shard(name, spool, self._relay_for(spool)))
        except SpoolLocked:
            pass  # its owner lives, and delivers
        except Exception as error:
            what = "cannot be opened" if isinstance(error, SpoolError) else "failed"
            self._observer(Trouble(where=f"shard {name}", what=what, detail=_detail(error)))
        finally:
            del self._adopted[name]

    async def _deliver_all(self, shard: Shard) -> None:
        gauges = await shard.spool.gauges()
        self._observer(ShardAdopted(shard=shard.name, messages=gauges.messages))
        self._adopted[shard.name] = shard
        try:
            async with trio.open_nursery() as delivering:
                delivering.start_soon(shard.relay.run)
                await shard.spool.wait_until_empty()
                delivering.cancel_scope.cancel()
        finally:
            self._adopted[shard.name] = None  # it is being closed: nobody may ask it any more


def _detail(error: BaseException) -> str:
    """What went wrong, out of the group that a nursery puts around it."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return str(error) if isinstance(error, SpoolError) else f"{type(error).__name__}: {error}"
