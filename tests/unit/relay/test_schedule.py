"""What follows an attempt: table by table."""

from __future__ import annotations

import pytest

from edgerelay.mail.address import ForwardPath, Mailbox, ReversePath
from edgerelay.mail.envelope import ClientFacts, Envelope, Notify, Recipient
from edgerelay.mail.reply import Reply
from edgerelay.relay.attempt import Attempt
from edgerelay.relay.schedule import NOBODY_TO_TELL, Schedule
from edgerelay.spool.api import (
    Finish,
    Hold,
    PendingDelivery,
    PendingRecipient,
    QueueId,
    Reschedule,
    Status,
    StoredMessage,
)

SCHEDULE = Schedule(retry=(60.0, 300.0), warn_after=3600.0, expire=86400.0)
NOW = 1_000_000.0

TAKEN = Reply(250, "2.0.0", "taken")
LATER = Reply(450, "4.2.1", "later")
NEVER = Reply(550, "5.1.1", "nobody")


def delivery(
    *names: str,
    sender: str = "alice@example.net",
    attempts: int = 0,
    notify: Notify | None = None,
    about: str | None = None,
) -> PendingDelivery:
    path = ReversePath(Mailbox.from_text(sender) if sender else None)
    message = StoredMessage(
        QueueId("Q1"),
        Envelope(path),
        ClientFacts("192.0.2.1", "client", "ESMTP"),
        NOW,
        b"",
        10,
        True,
        QueueId(about) if about else None,
    )
    recipients = tuple(
        PendingRecipient(Recipient(ForwardPath(Mailbox(name, "example.org")), notify))
        for name in names
    )
    return PendingDelivery(1, message, "lane", recipients, attempts, NOW, Status.QUEUED)


def names_of(recipients: tuple[PendingRecipient, ...] | None) -> list[str]:
    return [one.recipient.forward_path.mailbox.local_part for one in recipients or ()]


@pytest.mark.parametrize(("failures", "wait"), [(1, 60.0), (2, 300.0), (3, 300.0), (1000, 300.0)])
def test_the_last_wait_repeats(failures: int, wait: float) -> None:
    assert SCHEDULE.wait_after(failures) == wait


def test_all_delivered_ends_it() -> None:
    follow = SCHEDULE.follow_up(delivery("a", "b"), Attempt((TAKEN, TAKEN)), NOW, age=0)
    assert follow.change == Finish(1)
    assert follow.reports_nothing


def test_each_recipient_has_its_own_end() -> None:
    attempt = Attempt((TAKEN, LATER, NEVER))
    follow = SCHEDULE.follow_up(delivery("a", "b", "c"), attempt, NOW, age=0)
    change = follow.change
    assert isinstance(change, Reschedule)
    assert names_of(change.recipients) == ["b"]
    assert change.recipients[0].last_reply == "450 4.2.1 later"
    assert (change.due, change.attempts) == (NOW + 60, 1)
    assert [one.reply for one in follow.failed] == ["550 5.1.1 nobody"]


def test_the_wait_grows_with_the_attempts() -> None:
    follow = SCHEDULE.follow_up(delivery("a", attempts=1), Attempt((LATER,)), NOW, age=0)
    assert isinstance(follow.change, Reschedule)
    assert (follow.change.due, follow.change.attempts) == (NOW + 300, 2)


def test_too_old_is_a_failure_in_the_last_words() -> None:
    follow = SCHEDULE.follow_up(delivery("a"), Attempt((LATER,)), NOW, age=86400)
    assert follow.change == Finish(1)
    (failed,) = follow.failed
    assert failed.expired
    assert failed.reply == "450 4.2.1 later"


@pytest.mark.parametrize(
    ("notify", "told"),
    [
        (None, True),
        (Notify.FAILURE, True),
        (Notify.NEVER, False),
        (Notify.SUCCESS, False),
        (Notify.DELAY, False),
    ],
)
def test_a_failure_is_told_to_who_wants_to_know(notify: Notify | None, told: bool) -> None:
    follow = SCHEDULE.follow_up(delivery("a", notify=notify), Attempt((NEVER,)), NOW, age=0)
    assert follow.change == Finish(1)
    assert bool(follow.failed) is told


@pytest.mark.parametrize(
    ("hop_reports", "told"), [(False, True), (True, False)], ids=["no DSN at the hop", "DSN"]
)
def test_success_is_told_where_the_hop_does_not(hop_reports: bool, told: bool) -> None:
    attempt = Attempt((TAKEN,), reports_success=hop_reports)
    follow = SCHEDULE.follow_up(delivery("a", notify=Notify.SUCCESS), attempt, NOW, age=0)
    assert bool(follow.succeeded) is told


def test_a_failure_without_anyone_to_tell_is_held() -> None:
    follow = SCHEDULE.follow_up(delivery("a", "b", sender=""), Attempt((TAKEN, NEVER)), NOW, age=0)
    assert isinstance(follow.change, Hold)
    assert follow.change.reason == NOBODY_TO_TELL
    assert names_of(follow.change.recipients) == ["b"]
    assert follow.reports_nothing


def test_without_anyone_to_tell_the_failed_wait_for_the_others() -> None:
    follow = SCHEDULE.follow_up(delivery("a", "b", sender=""), Attempt((NEVER, LATER)), NOW, age=0)
    assert isinstance(follow.change, Reschedule)
    assert names_of(follow.change.recipients) == ["a", "b"]
    assert follow.reports_nothing


def test_a_report_that_fails_is_never_reported() -> None:
    follow = SCHEDULE.follow_up(delivery("a", about="Q0"), Attempt((NEVER,)), NOW, age=0)
    assert isinstance(follow.change, Hold)
    assert follow.reports_nothing
