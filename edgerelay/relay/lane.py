"""One destination at work: who sends, when it rests, and where its mail comes from.

A keeper task refills the queue from disk and watches the time; senders are tasks of their
own, at most `concurrency_per_destination`. What is decided about a message is `schedule`'s,
what is said to a hop is `sender`'s. A fault in here ends no other lane.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from math import inf
from typing import Final

import trio

from edgerelay.observe.events import LaneDown, LaneUp, Observer, Trouble
from edgerelay.relay.attempt import OUR_FAULT, Attempt, same_for_all
from edgerelay.relay.claims import Claims
from edgerelay.relay.connection import Opener
from edgerelay.relay.hops import HopMemory
from edgerelay.relay.lane_queue import LaneQueue
from edgerelay.relay.maildir import MaildirWriter
from edgerelay.relay.recorder import Recorder
from edgerelay.relay.routing import LaneSpec
from edgerelay.relay.schedule import Schedule
from edgerelay.relay.sender import NoHop, Sender
from edgerelay.runtime import Clock
from edgerelay.spool.api import PendingDelivery, Reschedule, Spool, SpoolFull

#: Seconds an unused connection is kept. Postfix keeps its own for 2 s, and busy lanes never
#: come to it; hops hang up on idle clients after some minutes.
IDLE: Final = 5.0
#: Seconds without further connections to a hop that refused one while it served others.
CROWDED_FOR: Final = 30.0
#: Seconds a message whose final dot has left may hold up a shutdown.
LAST_WORD: Final = 30.0
#: Deliveries that may have killed a worker, tried at once in a lane.
_PROBATION: Final = 3
#: Seconds between restarts of a keeper that fails.
_RESTART: Final = (1.0, 5.0, 30.0, 60.0)


@dataclass(frozen=True, slots=True)
class LaneServices:
    """What every lane works with."""

    spool: Spool
    hops: HopMemory
    opener: Opener
    maildirs: MaildirWriter
    recorder: Recorder
    schedule: Schedule
    observer: Observer
    clock: Clock
    claims: Claims
    concurrency: int  #: senders of a lane at once
    senders: Counter[str]  #: how many each lane has, those in other shards included
    on_rest: Callable[[], None]  #: a sender has gone idle: `Lane.close_idle` is due in a while


@dataclass(frozen=True, slots=True)
class LaneNow:
    """A lane at this moment, for `status`. ``paused_until`` is wall clock."""

    name: str
    queued: int  #: deliveries in memory, those being tried included
    active: int  #: connections and deliveries in progress
    paused_until: float | None
    last_failure: str


@dataclass(eq=False, slots=True)
class _Worker:
    """A task that sends. While idle, ``resting`` and ``idle_since`` are set.

    The scope is shielded all the time, because raising a shield for each message costs more
    than the look that `Lane.stop` takes at each sender.
    """

    sender: Sender
    handed: PendingDelivery | None
    scope: trio.CancelScope = field(default_factory=lambda: trio.CancelScope(shield=True))
    resting: trio.lowlevel.Task | None = None
    idle_since: float = 0.0


class Lane:
    """``paused_until`` and ``failures`` are what the spool remembers of a lane that is down."""

    def __init__(
        self,
        spec: LaneSpec,
        services: LaneServices,
        nursery: trio.Nursery,
        *,
        on_disk: bool,
        paused_until: float = 0.0,
        failures: int = 0,
    ) -> None:
        self.spec: Final = spec
        self.last_failure = ""  #: why no hop can be reached, for the operator
        self.last_reply = ""  #: the same for senders: a hop's words, or neutral ones of ours
        self._services = services
        self._nursery = nursery
        self._hops = services.hops.of(spec)
        self._queue = LaneQueue(services.claims, on_disk=on_disk)
        self._paused_until = paused_until
        self._failures = failures
        self._workers: set[_Worker] = set()
        self._idle: list[_Worker] = []
        self._probation = trio.Semaphore(_PROBATION)
        self._woken = trio.Event()
        self._next_due: float | None = None  # on disk, wall clock
        self._horizon = 0.0  # what falls due before it is due now, wall clock
        self._crowded_until = 0.0  # trio's clock
        self._stopping = False

    # --- what others tell it; none of it waits ---------------------------------------------

    def offer(self, delivery: PendingDelivery) -> None:
        """A fresh delivery was committed: it goes to a sender if none is before it."""
        if self._failures or self._stopping:
            self._queue.leave_on_disk()
            return
        self._queue.offer(delivery)
        self._dispatch()

    def look_again(self) -> None:
        """Something about this lane changed on disk."""
        self._queue.leave_on_disk()
        self._woken.set()

    def hurry(self) -> None:
        """An operator wants it tried now, whatever its failures so far."""
        self._paused_until = self._crowded_until = 0.0
        self.look_again()

    def withdraw(self, key: int) -> bool:
        """Forget a delivery that somebody else will change. False: it is being tried."""
        return self._queue.withdraw(key)

    def close_idle(self, now: float) -> bool:
        """Let senders go that had nothing to do for a while. True if there are more of them."""
        rested = [worker for worker in self._idle if now - worker.idle_since >= IDLE]
        for worker in rested:
            self._idle.remove(worker)
            self._wake(worker, None)
        return bool(self._idle)

    def stop(self) -> None:
        """The relay is ending: final dots that have left get their last word, bounded."""
        self._stopping = True
        for worker in self._workers:
            if worker.sender.commitment.is_made:
                worker.scope.deadline = trio.current_time() + LAST_WORD
            else:
                worker.scope.cancel()

    def now(self) -> LaneNow:
        return LaneNow(
            name=self.spec.name,
            queued=len(self._queue) + len(self._queue.in_flight),
            active=len(self._workers),
            paused_until=self._paused_until if self._is_paused() else None,
            last_failure=self.last_failure,
        )

    # --- the keeper ------------------------------------------------------------------------

    async def keep(self) -> None:
        """Run until nothing is left to do. A fault is reported, and it starts again."""
        faults = 0
        while True:
            try:
                await self._keep()
                return
            except Exception as error:
                self._report_fault("the keeper failed", error)
                await trio.sleep(_RESTART[min(faults, len(_RESTART) - 1)])
                faults += 1

    async def _keep(self) -> None:
        while True:
            await self._keep_until_over()
            if not self._failures:
                return
            self._failures = 0
            await self._services.spool.lane_pause(self.spec.name, 0, 0)

    async def _keep_until_over(self) -> None:
        while not self._is_over():
            self._woken = trio.Event()
            now = self._services.clock()
            if not self._is_paused():
                if self._next_due is not None and self._is_due(self._next_due, now):
                    self._next_due = None
                    self._queue.leave_on_disk()
                if self._queue.wants_refill:
                    await self._refill(now)
                self._dispatch()
            if self._is_over():
                return
            with trio.move_on_after(self._seconds_to_wait()):
                await self._woken.wait()

    def _is_due(self, due: float, now: float) -> bool:
        return due <= max(now, self._horizon) or self._is_beyond(due, now)

    def _is_over(self) -> bool:
        return self._queue.is_empty and not self._workers and self._next_due is None

    def _seconds_to_wait(self) -> float:
        if self._is_paused():
            return self._paused_until - self._services.clock()
        wait = inf if self._next_due is None else self._next_due - self._services.clock()
        # Once it has passed, what is to happen has happened, or waits for what a probe finds.
        if len(self._queue) and self._crowded_until > trio.current_time():
            wait = min(wait, self._crowded_until - trio.current_time())
        if self._queue.wants_refill:
            wait = min(wait, 1.0)  # what the disk had was all taken care of: look again
        return max(0.0, wait)

    async def _refill(self, now: float) -> None:
        queue, spool, name = self._queue, self._services.spool, self.spec.name
        horizon = max(now, self._horizon)
        limit = queue.refill_limit
        queue.start_refill()
        with self._services.claims.reading() as stale:
            found = await spool.due(name, horizon, limit)
            queue.refill(found, stale, complete=len(found) < limit)
            if queue.on_disk:
                return
            self._next_due = None
            due = await spool.next_due(name, horizon)
            if due is None or not self._is_beyond(due, now):
                self._note_due(due)
                return
            found = await spool.due(name, due, limit)
            queue.refill(found, stale, complete=False)

    def _note_due(self, due: float | None) -> None:
        if due is not None and (self._next_due is None or due < self._next_due):
            self._next_due = due

    # --- handing out -----------------------------------------------------------------------

    def _is_paused(self) -> bool:
        if not self._paused_until:
            return False  # nearly always, and asked for every message
        now = self._services.clock()
        return self._paused_until > now and not self._is_beyond(self._paused_until, now)

    def _is_beyond(self, due: float, now: float) -> bool:
        return self._services.schedule.is_beyond(due, now)

    def _allowed(self) -> int:
        if self._failures:
            return 1  # a probe: the others wait for what it finds
        if self._crowded_until:
            if self._crowded_until > trio.current_time():
                return max(1, sum(worker.sender.is_connected for worker in self._workers))
            self._crowded_until = 0.0
        elsewhere = self._services.senders[self.spec.name] - len(self._workers)
        return max(1, self._services.concurrency - elsewhere)

    def _dispatch(self) -> None:
        if self._stopping or self._is_paused():
            return
        while len(self._queue):
            if self._idle:
                # The last that went idle: the others may then be closed.
                self._wake(self._idle.pop(), self._queue.take())
            elif len(self._workers) < self._allowed():
                self._hire()
            else:
                return

    def _wake(self, worker: _Worker, delivery: PendingDelivery | None) -> None:
        worker.handed = delivery
        if worker.resting is not None:
            trio.lowlevel.reschedule(worker.resting)
            worker.resting = None

    def _hire(self) -> None:
        services = self._services
        sender = Sender(
            self._hops,
            services.opener,
            services.spool,
            services.maildirs,
            services.observer,
        )
        worker = _Worker(sender, self._queue.take())
        self._workers.add(worker)
        services.senders[self.spec.name] += 1
        self._nursery.start_soon(self._work, worker)

    def _dismiss(self, worker: _Worker) -> None:
        """It takes no further delivery. Idempotent."""
        if worker in self._workers:
            self._workers.remove(worker)
            self._services.senders[self.spec.name] -= 1

    def _next(self) -> PendingDelivery | None:
        if self._stopping or self._failures or self._is_paused():
            return None
        delivery = self._queue.take()
        if self._queue.wants_refill:
            self._woken.set()
        return delivery

    # --- a sender's task -------------------------------------------------------------------

    async def _work(self, worker: _Worker) -> None:
        with worker.scope:
            try:
                await self._work_through(worker)
            except Exception as error:
                # What it held stays in flight until a restart: it may have been delivered.
                self._report_fault("a sender failed", error)
            finally:
                self._dismiss(worker)
                self._woken.set()
                if worker.resting is not None:  # cancelled while idle
                    self._idle.remove(worker)
                worker.sender.abort()

    async def _work_through(self, worker: _Worker) -> None:
        sender, delivery = worker.sender, worker.handed
        while delivery is not None:
            if not await self._deliver(worker, delivery):
                break
            now = trio.current_time()
            if sender.has_served(now):
                await sender.close()
            delivery = self._next()
            if delivery is None and sender.is_connected and not self._stopping:
                delivery = await self._rest(worker, now)
        self._dismiss(worker)
        worker.scope.shield = False  # `stop` does not see it any more
        await sender.close()

    async def _rest(self, worker: _Worker, now: float) -> PendingDelivery | None:
        worker.resting = trio.lowlevel.current_task()
        worker.idle_since = now
        self._idle.append(worker)
        self._services.on_rest()
        await trio.lowlevel.wait_task_rescheduled(_may_be_cancelled)
        return worker.handed

    async def _deliver(self, worker: _Worker, delivery: PendingDelivery) -> bool:
        """Try one delivery and record what came of it. False: no hop could be reached."""
        try:
            attempt = await self._attempt(worker, delivery)
        except NoHop as none:
            await self._unreachable(worker, delivery, none)
            return False
        change = await self._services.recorder.record(delivery, attempt)
        worker.sender.commitment.is_made = False
        if self._stopping:
            worker.scope.cancel()
        self._queue.done(delivery.key)
        self._services.claims.changed(delivery.key)
        if isinstance(change, Reschedule):
            self._note_due(change.due)
            self._woken.set()
        if self._failures:
            await self._answered()
        return True

    async def _attempt(self, worker: _Worker, delivery: PendingDelivery) -> Attempt:
        try:
            if not delivery.on_probation:
                return await worker.sender.deliver(delivery)
            async with self._probation:
                # On a full disk only deliveries make room again, so they go on unmarked: what
                # kills a worker then is found when there is room for its mark.
                with suppress(SpoolFull):
                    await self._services.spool.mark_attempt(delivery.key)
                return await worker.sender.deliver(delivery)
        except NoHop:
            raise
        except Exception as error:
            # Ours, not the hop's. The message is tried again when its time comes.
            self._report_fault(f"{delivery.message.queue_id} was not delivered", error)
            worker.sender.abort()
            return same_for_all(len(delivery.recipients), OUR_FAULT)

    # --- down and up -----------------------------------------------------------------------

    async def _unreachable(self, worker: _Worker, delivery: PendingDelivery, none: NoHop) -> None:
        services = self._services
        self._queue.give_back(delivery.key)
        self.last_failure, self.last_reply = none.detail, str(none.reply)
        if self._is_paused():
            self._queue.spill()
            return
        if any(other.sender.is_connected for other in self._workers if other is not worker):
            # It serves others: it has as many connections as it wants.
            self._crowded_until = trio.current_time() + CROWDED_FOR
            return
        self._failures += 1
        wait = services.schedule.wait_after(self._failures)
        self._paused_until = services.clock() + wait
        self._queue.spill()
        services.observer(LaneDown(lane=self.spec.name, reason=none.detail, retry_in=wait))
        await services.spool.lane_pause(self.spec.name, self._paused_until, self._failures)

    async def _answered(self) -> None:
        """A hop answered after all: everything that waits is due, oldest first."""
        services = self._services
        self._failures, self._paused_until = 0, 0.0
        self.last_failure = self.last_reply = ""
        # What was deferred because of the same outage is due with the rest; what is deferred
        # from now on is not, so nothing can go round in circles.
        self._horizon = services.clock() + 0.9 * services.schedule.shortest_wait
        self.look_again()
        services.observer(LaneUp(lane=self.spec.name))
        await services.spool.lane_pause(self.spec.name, 0, 0)

    def _report_fault(self, what: str, error: Exception) -> None:
        self._services.observer(
            Trouble(
                where=f"lane {self.spec.name}",
                what=what,
                detail=f"{type(error).__name__}: {error}",
            )
        )


def _may_be_cancelled(_: object) -> trio.lowlevel.Abort:
    return trio.lowlevel.Abort.SUCCEEDED
