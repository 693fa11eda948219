"""Relay-out: every lane of one spool, what an operator asks of them, and their end.

It starts and finds lanes; what happens in one is `lane`'s. Cancelling `run` is the shutdown:
the spool is the truth, and only final dots that have left are waited for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Never

import trio

from edgerelay.net.socket_transport import Dialer
from edgerelay.observe.events import Observer, Trouble
from edgerelay.relay.ages import Ages
from edgerelay.relay.claims import Claims
from edgerelay.relay.connection import Opener
from edgerelay.relay.hops import FindsHops, HopMemory
from edgerelay.relay.lane import Lane, LaneNow, LaneServices
from edgerelay.relay.maildir import MaildirWriter
from edgerelay.relay.probe import Prober
from edgerelay.relay.recorder import Recorder
from edgerelay.relay.reports import Reporter
from edgerelay.relay.rerouting import reroute
from edgerelay.relay.routing import Router
from edgerelay.relay.schedule import Schedule
from edgerelay.relay.settings import RelaySettings
from edgerelay.relay.tls import ClientContexts, client_contexts
from edgerelay.relay.watch import Watch
from edgerelay.runtime import Clock, RunBlocking, in_thread
from edgerelay.spool.api import (
    Change,
    Hold,
    PendingDelivery,
    Release,
    Spool,
    SpoolError,
    Status,
)

_SWEEP: Final = 1.0  # seconds between looks at idle connections, while there are any
_TRY_AGAIN: Final = 30.0  # seconds after the spool failed us


class Relay:
    """One for each spool, made within Trio. It takes the spool's callbacks for itself.

    ``dialer`` opens connections, ``finder`` finds where to; ``contexts`` are the client
    side's TLS (None: from the system's certificate authorities). ``senders`` counts each
    lane's over all relays that are given it. ``probe`` asks a lane's hops about a recipient.
    """

    def __init__(
        self,
        settings: RelaySettings,
        spool: Spool,
        router: Router,
        finder: FindsHops,
        dialer: Dialer,
        observer: Observer,
        clock: Clock,
        *,
        run_blocking: RunBlocking = in_thread,
        contexts: ClientContexts | None = None,
        senders: Counter[str] | None = None,
    ) -> None:
        self._spool = spool
        self._router = router
        self._observer = observer
        self._clock = clock
        self._claims = Claims()
        self._lanes: dict[str, Lane] = {}
        self._astray: set[str] = set()  # lanes that no route makes, being emptied
        self._nursery: trio.Nursery | None = None
        self._rested = trio.Event()  # set while some lane may have an idle connection
        schedule = Schedule.of(settings)
        opener = Opener(settings, dialer, contexts or client_contexts())
        hops = HopMemory(finder)
        ages = Ages(clock, trio.current_time, observer)
        reporter = Reporter(settings, spool, router, clock)
        self._services = LaneServices(
            spool=spool,
            hops=hops,
            opener=opener,
            maildirs=MaildirWriter(spool, run_blocking, clock, settings.hostname),
            recorder=Recorder(schedule, spool, reporter, observer, clock, ages),
            schedule=schedule,
            observer=observer,
            clock=clock,
            claims=self._claims,
            concurrency=settings.concurrency_per_destination,
            senders=Counter() if senders is None else senders,
            on_rest=lambda: self._rested.set(),
        )
        self._watch = Watch(schedule, spool, reporter, observer, ages, self, self._claims)
        self.probe: Final = Prober(opener, hops)
        spool.on_committed = self.offer
        spool.on_caught_up = self._look_everywhere

    async def run(self) -> Never:
        """Deliver until cancelled; then give final dots that have left up to 30 s."""
        async with trio.open_nursery() as nursery:
            try:
                self._nursery = nursery
                await self._start_lanes()
                nursery.start_soon(self._watch.run)
                while True:
                    await self._rested.wait()
                    self._rested = trio.Event()
                    await trio.sleep(_SWEEP)
                    now = trio.current_time()
                    if any([lane.close_idle(now) for lane in self._lanes.values()]):
                        self._rested.set()
            finally:
                self._nursery = None
                for lane in self._lanes.values():
                    lane.stop()
        raise AssertionError("only a cancellation ends the loop")

    async def _start_lanes(self) -> None:
        while True:
            try:
                pauses = await self._spool.lane_pauses()
                names = await self._spool.lanes()
                break
            except SpoolError as error:
                self._observer(
                    Trouble(where="relay", what="the lanes cannot be read", detail=str(error))
                )
                await trio.sleep(_TRY_AGAIN)
        for name in names:
            paused_until, failures = pauses.get(name, (0.0, 0))
            if lane := self._lane(name, paused_until=paused_until, failures=failures):
                lane.look_again()

    # --- lanes -----------------------------------------------------------------------------

    def offer(self, deliveries: Sequence[PendingDelivery]) -> None:
        """Take what was just committed. Before and after `run` the spool keeps it for us."""
        if self._nursery is None:
            return
        for delivery in deliveries:
            if delivery.status is not Status.QUEUED:
                continue
            if lane := self._lanes.get(delivery.lane) or self._lane(delivery.lane):
                lane.offer(delivery)

    def _lane(self, name: str, *, paused_until: float = 0.0, failures: int = 0) -> Lane | None:
        """Return the lane, started if need be; None if no route makes it or we are ending."""
        lane = self._lanes.get(name)
        if lane is not None or self._nursery is None:
            return lane
        spec = self._router.lane_named(name)
        if spec is None:
            if name not in self._astray:
                self._astray.add(name)
                self._nursery.start_soon(self._empty, name)
            return None
        lane = Lane(
            spec,
            self._services,
            self._nursery,
            on_disk=False,
            paused_until=paused_until,
            failures=failures,
        )
        self._lanes[name] = lane
        self._nursery.start_soon(self._keep, name, lane)
        return lane

    async def _keep(self, name: str, lane: Lane) -> None:
        # Between the keeper's end and the lane's there is no checkpoint: no offer is lost.
        await lane.keep()
        del self._lanes[name]

    async def _empty(self, name: str) -> None:
        while True:
            try:
                moved = await reroute(name, self._spool, self._router, self._observer, self._clock)
                break
            except SpoolError as error:
                self._observer(
                    Trouble(where=f"lane {name}", what="not re-routed", detail=str(error))
                )
                await trio.sleep(_TRY_AGAIN)
        self._astray.discard(name)
        self._look_again(sorted(moved))

    def _look_everywhere(self) -> None:
        """Deliveries of any lane may have been kept from it, and are not any more."""
        if self._nursery is not None:
            self._nursery.start_soon(self._start_lanes)

    def _look_again(self, names: Iterable[str]) -> None:
        for name in names:
            if lane := self._lane(name):
                lane.look_again()

    # --- claims ----------------------------------------------------------------------------

    def claim(self, delivery: PendingDelivery) -> bool:
        """Keep everybody else from a delivery; False if it is being tried or claimed."""
        if delivery.key in self._claims:
            return False
        lane = self._lanes.get(delivery.lane)
        if lane is not None and not lane.withdraw(delivery.key):
            return False
        self._claims.add(delivery.key)
        return True

    def unclaim(self, deliveries: Sequence[PendingDelivery]) -> None:
        self._claims.release(delivery.key for delivery in deliveries)
        self._look_again(dict.fromkeys(delivery.lane for delivery in deliveries))

    def last_reply_of(self, lane: str) -> str:
        known = self._lanes.get(lane)
        return known.last_reply if known else ""

    # --- what an operator asks; each returns how many deliveries were changed --------------

    async def flush(self, deliveries: Sequence[PendingDelivery]) -> int:
        """Make queued deliveries due at once, and their lanes try at once."""
        queued = [one for one in deliveries if one.status is Status.QUEUED]
        changed = await self._change(queued, lambda one: Release(one.key, self._clock()))
        for name in dict.fromkeys(one.lane for one in queued):
            self.hurry(name)
        return changed

    async def hold(self, deliveries: Sequence[PendingDelivery], reason: str) -> int:
        return await self._change(deliveries, lambda one: Hold(one.key, reason))

    async def release(self, deliveries: Sequence[PendingDelivery]) -> int:
        """Make held deliveries due at once."""
        held = [one for one in deliveries if one.status is Status.HELD]
        return await self._change(held, lambda one: Release(one.key, self._clock()))

    async def delete(self, deliveries: Sequence[PendingDelivery]) -> int:
        mine = [one for one in deliveries if self.claim(one)]
        try:
            for delivery in mine:
                await self._spool.discard(delivery.key)
        finally:
            self.unclaim(mine)
        return len(mine)

    async def _change(
        self,
        deliveries: Sequence[PendingDelivery],
        change_for: Callable[[PendingDelivery], Change],
    ) -> int:
        """Raises `SpoolError`. Those being tried at this moment are left alone."""
        mine = [delivery for delivery in deliveries if self.claim(delivery)]
        try:
            await self._spool.settle(*(change_for(delivery) for delivery in mine))
        finally:
            self.unclaim(mine)
            self._watch.look_soon()  # what was released may be older than anything queued
        return len(mine)

    @property
    def claims(self) -> int:
        """Deliveries that somebody other than their lane is changing now."""
        return len(self._claims)

    def hurry(self, lane: str) -> None:
        """Another worker has reached the lane's hop: if it is down here, probe it now."""
        if known := self._lanes.get(lane):
            known.hurry()

    def lanes_now(self) -> list[LaneNow]:
        return [lane.now() for lane in self._lanes.values()]
