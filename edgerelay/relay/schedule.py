"""What follows an attempt, and when the next one is due: decisions without I/O.

It knows no clock, no socket and no spool but its types: times go in, changes come out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from edgerelay.mail.envelope import Notify, Recipient
from edgerelay.mail.reply import Reply
from edgerelay.relay.attempt import Attempt
from edgerelay.relay.settings import RelaySettings
from edgerelay.spool.api import (
    Change,
    Finish,
    Hold,
    PendingDelivery,
    PendingRecipient,
    Reschedule,
    StoredMessage,
)

#: Why a delivery is held whose failure nobody may be told of (RFC 5321 section 6.1).
NOBODY_TO_TELL: Final = "it failed and has no one to report to"


@dataclass(frozen=True, slots=True)
class Settled:
    """A recipient and its last word. ``expired``: we gave up, the word was only transient."""

    recipient: Recipient
    reply: str
    expired: bool = False


@dataclass(frozen=True, slots=True)
class FollowUp:
    """The durable change, and who is to be told of what."""

    change: Change
    failed: tuple[Settled, ...] = ()
    succeeded: tuple[Settled, ...] = ()

    @property
    def reports_nothing(self) -> bool:
        return not self.failed and not self.succeeded


@dataclass(frozen=True, slots=True)
class Schedule:
    """Seconds. ``retry`` is the wait after the first failure, the second …; the last repeats."""

    retry: tuple[float, ...]
    warn_after: float
    expire: float

    @classmethod
    def of(cls, settings: RelaySettings) -> Schedule:
        return cls(settings.retry, settings.warn_after, settings.expire)

    def wait_after(self, failures: int) -> float:
        """Return the wait after so many failures in a row, counted from one."""
        return self.retry[min(failures, len(self.retry)) - 1]

    @property
    def shortest_wait(self) -> float:
        return min(self.retry)

    def is_beyond(self, due: float, now: float) -> bool:
        """No wait is so long (a second is for rounding): the wall clock was set back since."""
        return due - now > max(self.retry) + 1.0

    def follow_up(
        self, delivery: PendingDelivery, attempt: Attempt, now: float, *, age: float
    ) -> FollowUp:
        """Say what follows. ``age``: seconds since the message arrived, by a clock we trust."""
        done: list[Settled] = []
        failed: list[PendingRecipient] = []
        waiting: list[PendingRecipient] = []
        for pending, reply in zip(delivery.recipients, attempt.replies, strict=True):
            if reply.code < 300:
                if pending.recipient.notify is not None and _wants_success(pending, attempt):
                    done.append(Settled(pending.recipient, str(reply)))
            elif reply.is_permanent:
                failed.append(_told(pending, reply))
            else:
                waiting.append(_told(pending, reply))
        if not failed and not waiting and not done:
            return FollowUp(Finish(delivery.key))
        succeeded = () if delivery.message.envelope.reverse_path.is_null else tuple(done)
        if waiting and age >= self.expire:
            follow = give_up(delivery, tuple(failed), tuple(waiting))
        elif not waiting:
            follow = give_up(delivery, tuple(failed), ())
        else:
            follow = self._again(delivery, tuple(failed), tuple(waiting), now)
        return replace(follow, succeeded=succeeded) if succeeded else follow

    def _again(
        self,
        delivery: PendingDelivery,
        failed: tuple[PendingRecipient, ...],
        waiting: tuple[PendingRecipient, ...],
        now: float,
    ) -> FollowUp:
        attempts = delivery.attempts + 1
        told: tuple[Settled, ...] = ()
        if _may_report(delivery.message):
            told = _to_tell(failed, expired=False)
        else:
            # Nobody can be told and half a delivery cannot be held: they wait together.
            waiting = failed + waiting
        due = now + self.wait_after(attempts)
        change = Reschedule(delivery.key, waiting, due, attempts, delivery.warned)
        return FollowUp(change, told)


def give_up(
    delivery: PendingDelivery,
    failed: tuple[PendingRecipient, ...],
    expired: tuple[PendingRecipient, ...],
) -> FollowUp:
    """End the delivery: these recipients failed, those were tried for too long."""
    if not failed and not expired:
        return FollowUp(Finish(delivery.key))
    if not _may_report(delivery.message):
        return FollowUp(Hold(delivery.key, NOBODY_TO_TELL, failed + expired))
    told = _to_tell(failed, expired=False) + _to_tell(expired, expired=True)
    return FollowUp(Finish(delivery.key), told)


def _may_report(message: StoredMessage) -> bool:
    return not message.envelope.reverse_path.is_null and message.about is None


def _to_tell(recipients: tuple[PendingRecipient, ...], *, expired: bool) -> tuple[Settled, ...]:
    return tuple(
        Settled(pending.recipient, pending.last_reply, expired)
        for pending in recipients
        if Notify.FAILURE in pending.recipient.wants
    )


def _told(pending: PendingRecipient, reply: Reply) -> PendingRecipient:
    return PendingRecipient(pending.recipient, str(reply))


def _wants_success(pending: PendingRecipient, attempt: Attempt) -> bool:
    return Notify.SUCCESS in pending.recipient.wants and not attempt.reports_success
