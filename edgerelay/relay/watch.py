"""Gives up on what is too old and warns of what is late, in living and in dead lanes alike.

It finds messages by their age, never by their lane, and changes only those that nobody is
trying at that moment.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Never, Protocol

import trio

from edgerelay.mail.dsn import ReportKind
from edgerelay.observe.events import Expired, Held, Observer, Trouble
from edgerelay.relay.ages import Ages
from edgerelay.relay.claims import Claims
from edgerelay.relay.reports import UNTOLD, BuiltReport, Reporter, announce
from edgerelay.relay.schedule import Schedule, give_up
from edgerelay.spool.api import Change, Hold, PendingDelivery, Reschedule, Spool, SpoolError

#: Seconds between two looks: at least, at most, and while somebody is trying what is too old.
SOONEST: Final = 1.0
LATEST: Final = 900.0  # a jump of the wall clock should not go unnoticed for long
BUSY: Final = 10.0
AFTER_TROUBLE: Final = 60.0
#: Messages changed in one transaction.
_BATCH: Final = 100


class Claimant(Protocol):
    """Who may change a delivery: see `edgerelay.relay.relay.Relay`."""

    def claim(self, delivery: PendingDelivery) -> bool:
        """True: until `unclaim` nobody else tries or changes it."""

    def unclaim(self, deliveries: Sequence[PendingDelivery]) -> None: ...

    def last_reply_of(self, lane: str) -> str:
        """What senders may read of why a lane is down, or ""."""


@dataclass(frozen=True, slots=True)
class _Step:
    change: Change
    report: BuiltReport | None = None
    expired: Expired | None = None


class Watch:
    def __init__(
        self,
        schedule: Schedule,
        spool: Spool,
        reporter: Reporter,
        observer: Observer,
        ages: Ages,
        claimant: Claimant,
        claims: Claims,
    ) -> None:
        self._schedule = schedule
        self._spool = spool
        self._reporter = reporter
        self._observer = observer
        self._ages = ages
        self._claimant = claimant
        self._claims = claims
        self._asked = trio.Event()

    def look_soon(self) -> None:
        """Something older than what was there at the last look may be queued now."""
        self._asked.set()

    async def run(self) -> Never:
        while True:
            wait = AFTER_TROUBLE
            self._asked = trio.Event()
            try:
                wait = await self._look()
            except Exception as error:  # a message that cannot be told of ends no lane
                self._trouble(error)
            with trio.move_on_after(wait):
                await self._asked.wait()
                await trio.sleep(SOONEST)  # for who asks again and again

    async def _look(self) -> float:
        """Do what is due, and return the seconds until the next look."""
        schedule = self._schedule
        busy = await self._treat_all(schedule.expire, self._expire, unwarned=False)
        busy |= await self._treat_all(schedule.warn_after, self._warn, unwarned=True)
        # What comes right after this look must not wait for longer than its own time.
        latest = min(LATEST, schedule.expire, schedule.warn_after)
        if busy:
            return max(SOONEST, min(BUSY, latest / 6))
        now = self._ages.now()
        oldest = await self._spool.oldest_arrival(unwarned=False)
        unwarned = await self._spool.oldest_arrival(unwarned=True)
        next_expiry = latest if oldest is None else oldest + schedule.expire - now
        next_warning = latest if unwarned is None else unwarned + schedule.warn_after - now
        return max(SOONEST, min(latest, next_expiry, next_warning))

    async def _treat_all(
        self,
        age: float,
        treat: Callable[[PendingDelivery], Awaitable[_Step]],
        *,
        unwarned: bool,
    ) -> bool:
        """Treat every delivery of that age. True if some of them were being tried."""
        while True:
            before = self._ages.now() - age
            with self._claims.reading() as stale:
                found = await self._spool.aged(before, unwarned=unwarned, limit=_BATCH)
            fresh = [delivery for delivery in found if delivery.key not in stale]
            mine = [delivery for delivery in fresh if self._claimant.claim(delivery)]
            if mine:
                await self._treat(mine, treat)
            if len(mine) < len(found) or len(found) < _BATCH:
                return len(mine) < len(found)

    async def _treat(
        self,
        deliveries: Sequence[PendingDelivery],
        treat: Callable[[PendingDelivery], Awaitable[_Step]],
    ) -> None:
        steps: list[_Step] = []
        committed = False
        try:
            steps += [await self._step(treat, delivery) for delivery in deliveries]
            reports = [step.report for step in steps if step.report is not None]
            await self._spool.settle(
                *(step.change for step in steps), reports=[one.message for one in reports]
            )
            committed = True
            announce(self._observer, reports)
        finally:
            self._claimant.unclaim(deliveries)
            if not committed:
                for step in steps:
                    if step.report is not None:
                        step.report.message.content.discard()
        for delivery, step in zip(deliveries, steps, strict=True):
            if step.expired is not None:
                self._observer(step.expired)
            if isinstance(step.change, Hold):
                queue_id, reason = delivery.message.queue_id, step.change.reason
                self._observer(Held(queue_id=queue_id, lane=delivery.lane, reason=reason))

    async def _step(
        self, treat: Callable[[PendingDelivery], Awaitable[_Step]], delivery: PendingDelivery
    ) -> _Step:
        try:
            return await treat(delivery)
        except SpoolError:
            raise
        except Exception as error:  # our fault: it stays where an operator sees it
            self._trouble(error)
            return _Step(Hold(delivery.key, UNTOLD))

    async def _expire(self, delivery: PendingDelivery) -> _Step:
        follow = give_up(delivery, (), delivery.recipients)
        report = await self._reporter.build(
            ReportKind.FAILED,
            delivery.message,
            follow.failed,
            last_reply=self._claimant.last_reply_of(delivery.lane),
        )
        expired = Expired(
            queue_id=delivery.message.queue_id,
            lane=delivery.lane,
            recipients=[
                (str(pending.recipient.forward_path), pending.last_reply)
                for pending in delivery.recipients
            ],
            delay=round(self._ages.age(delivery.message.arrived), 6),
        )
        return _Step(follow.change, report, expired)

    async def _warn(self, delivery: PendingDelivery) -> _Step:
        report = await self._reporter.build(
            ReportKind.DELAYED,
            delivery.message,
            await self._reporter.may_warn(delivery),
            last_reply=self._claimant.last_reply_of(delivery.lane),
            retry_until=delivery.message.arrived + self._schedule.expire,
        )
        change = Reschedule(
            delivery.key, delivery.recipients, delivery.due, delivery.attempts, warned=True
        )
        return _Step(change, report)

    def _trouble(self, error: Exception) -> None:
        detail = str(error) if isinstance(error, SpoolError) else repr(error)
        self._observer(
            Trouble(where="relay", what="old messages could not be looked at", detail=detail)
        )
