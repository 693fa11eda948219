"""Makes what an attempt said durable: outcomes, the reports they cause, and the event.

Decisions are `schedule`'s. What it hands to the spool rides the next batch: a crash before
that repeats an attempt and loses none.
"""

from __future__ import annotations

from edgerelay.mail.dsn import ReportKind
from edgerelay.observe.events import Delivery, Held, Observer, Trouble
from edgerelay.relay.ages import Ages
from edgerelay.relay.attempt import Attempt
from edgerelay.relay.reports import UNTOLD, BuiltReport, Reporter, announce
from edgerelay.relay.schedule import FollowUp, Schedule
from edgerelay.runtime import Clock
from edgerelay.spool.api import (
    Change,
    Hold,
    PendingDelivery,
    PendingRecipient,
    Reschedule,
    Spool,
    SpoolError,
)


class Recorder:
    def __init__(
        self,
        schedule: Schedule,
        spool: Spool,
        reporter: Reporter,
        observer: Observer,
        clock: Clock,
        ages: Ages,
    ) -> None:
        self._schedule = schedule
        self._spool = spool
        self._reporter = reporter
        self._observer = observer
        self._clock = clock
        self._ages = ages

    async def record(self, delivery: PendingDelivery, attempt: Attempt) -> Change:
        """Record what follows, and return it."""
        now = self._clock()
        age = self._ages.age(delivery.message.arrived)
        follow = self._schedule.follow_up(delivery, attempt, now, age=age)
        change = follow.change
        built: list[BuiltReport] = []
        if not follow.reports_nothing:
            try:
                built = await self._reports(delivery, attempt, follow)
            except SpoolError as error:
                change = self._try_to_tell_later(delivery, attempt, change, str(error))
            except Exception as error:  # our fault: it stays where an operator sees it
                change = self._keep_untold(delivery, attempt, change, repr(error))
        self._spool.settle_soon(change, reports=[one.message for one in built])
        self._tell(delivery, attempt, age)
        announce(self._observer, built)
        if isinstance(change, Hold):
            self._observer(
                Held(queue_id=delivery.message.queue_id, lane=delivery.lane, reason=change.reason)
            )
        return change

    async def _reports(
        self, delivery: PendingDelivery, attempt: Attempt, follow: FollowUp
    ) -> list[BuiltReport]:
        success = ReportKind.DELIVERED if attempt.is_final else ReportKind.RELAYED
        built: list[BuiltReport] = []
        try:
            for kind, settled in ((ReportKind.FAILED, follow.failed), (success, follow.succeeded)):
                one = await self._reporter.build(
                    kind, delivery.message, settled, remote_mta=attempt.hop_name
                )
                if one is not None:
                    built.append(one)
        except BaseException:
            for one in built:
                one.message.content.discard()
            raise
        return built

    def _try_to_tell_later(
        self, delivery: PendingDelivery, attempt: Attempt, change: Change, why: str
    ) -> Change:
        # A failure of which nobody is told would be a loss: they stay, to be refused again.
        self._observer(Trouble(where="relay", what="a report could not be written", detail=why))
        remaining = _undelivered(delivery, attempt)
        if not remaining:
            return change
        attempts = delivery.attempts + 1
        due = self._clock() + self._schedule.wait_after(attempts)
        return Reschedule(delivery.key, remaining, due, attempts, delivery.warned)

    def _keep_untold(
        self, delivery: PendingDelivery, attempt: Attempt, change: Change, why: str
    ) -> Change:
        self._observer(Trouble(where="relay", what="a report could not be composed", detail=why))
        remaining = _undelivered(delivery, attempt)
        return Hold(delivery.key, UNTOLD, remaining) if remaining else change

    def _tell(self, delivery: PendingDelivery, attempt: Attempt, age: float) -> None:
        self._observer(
            Delivery(
                queue_id=delivery.message.queue_id,
                lane=delivery.lane,
                next_hop=attempt.hop,
                outcome=attempt.outcome,
                recipients=[
                    (str(pending.recipient.forward_path), str(reply))
                    for pending, reply in zip(delivery.recipients, attempt.replies, strict=True)
                ],
                attempt=delivery.attempts + 1,
                delay=round(age, 6),
                tls=attempt.tls,
            )
        )


def _undelivered(delivery: PendingDelivery, attempt: Attempt) -> tuple[PendingRecipient, ...]:
    return tuple(
        PendingRecipient(pending.recipient, str(reply))
        for pending, reply in zip(delivery.recipients, attempt.replies, strict=True)
        if reply.code >= 300
    )
