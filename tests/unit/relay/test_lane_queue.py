"""A delivery is never in memory twice, what is there is bounded, and order is kept."""

from __future__ import annotations

from edgerelay.mail.address import NULL_REVERSE_PATH, ForwardPath, Mailbox
from edgerelay.mail.envelope import ClientFacts, Envelope, Recipient
from edgerelay.relay.lane_queue import WINDOW, WINDOW_RECIPIENTS, LaneQueue
from edgerelay.spool.api import (
    PendingDelivery,
    PendingRecipient,
    QueueId,
    Status,
    StoredMessage,
)

MESSAGE = StoredMessage(
    QueueId("Q1"), Envelope(NULL_REVERSE_PATH), ClientFacts("", "", ""), 0.0, b"", 1, True
)
RECIPIENT = PendingRecipient(Recipient(ForwardPath(Mailbox("a", "example.org"))))


def one(key: int, due: float | None = None, recipients: int = 1) -> PendingDelivery:
    return PendingDelivery(
        key,
        MESSAGE,
        "lane",
        (RECIPIENT,) * recipients,
        0,
        float(key) if due is None else due,
        Status.QUEUED,
    )


def queue(*, on_disk: bool = False, claimed: set[int] | None = None) -> LaneQueue:
    return LaneQueue(claimed if claimed is not None else set(), on_disk=on_disk)


def drained(lane: LaneQueue) -> list[int]:
    keys = []
    while delivery := lane.take():
        keys.append(delivery.key)
        lane.done(delivery.key)
    return keys


def test_first_come_first_served() -> None:
    lane = queue()
    for key in (1, 2, 3):
        lane.offer(one(key))
    assert drained(lane) == [1, 2, 3]
    assert lane.is_empty


def test_what_is_fresh_waits_behind_what_is_on_disk() -> None:
    lane = queue(on_disk=True)
    lane.offer(one(9))
    assert lane.take() is None
    lane.start_refill()
    lane.refill([one(1), one(9)], set(), complete=True)
    assert drained(lane) == [1, 9]


def test_the_window_is_bounded_in_deliveries() -> None:
    lane = queue()
    for key in range(WINDOW + 1):
        lane.offer(one(key))
    assert len(lane) == WINDOW
    assert lane.on_disk
    assert not lane.wants_refill  # not before half of it is gone


def test_the_window_is_bounded_in_recipients() -> None:
    lane = queue()
    for key in range(20):
        lane.offer(one(key, recipients=WINDOW_RECIPIENTS // 10))
    assert len(lane) == 10
    assert lane.on_disk


def test_a_refill_adds_nothing_twice() -> None:
    lane = queue()
    lane.offer(one(1))
    lane.offer(one(2))
    lane.take()
    lane.leave_on_disk()
    lane.start_refill()
    lane.refill([one(1), one(2), one(3)], set(), complete=True)
    assert drained(lane) == [2, 3]
    assert list(lane.in_flight) == [1]


def test_a_refill_puts_what_is_due_longest_first() -> None:
    lane = queue()
    lane.offer(one(5, due=50))
    lane.leave_on_disk()
    lane.start_refill()
    lane.refill([one(3, due=30), one(4, due=60)], set(), complete=True)
    assert drained(lane) == [3, 5, 4]


def test_what_is_settled_during_a_refill_does_not_come_back() -> None:
    lane = queue()
    lane.offer(one(1))
    lane.take()
    lane.leave_on_disk()
    lane.start_refill()
    lane.done(1)
    lane.refill([one(1)], {1}, complete=True)
    assert lane.is_empty


def test_what_is_committed_during_a_refill_is_looked_for_again() -> None:
    lane = queue(on_disk=True)
    lane.start_refill()
    lane.offer(one(7))
    lane.refill([], set(), complete=True)
    assert lane.on_disk


def test_what_is_given_back_is_first_again() -> None:
    lane = queue()
    lane.offer(one(1))
    lane.offer(one(2))
    lane.take()
    lane.give_back(1)
    assert drained(lane) == [1, 2]


def test_what_is_claimed_is_left_on_disk() -> None:
    claimed = {1}
    lane = queue(on_disk=True, claimed=claimed)
    lane.start_refill()
    lane.refill([one(1), one(2)], set(), complete=True)
    assert drained(lane) == [2]


def test_what_is_being_tried_cannot_be_withdrawn() -> None:
    lane = queue()
    lane.offer(one(1))
    lane.offer(one(2))
    lane.take()
    assert not lane.withdraw(1)
    assert lane.withdraw(2)
    assert lane.withdraw(3)
    assert lane.take() is None


def test_a_spilled_window_is_on_disk() -> None:
    lane = queue()
    lane.offer(one(1))
    lane.spill()
    assert len(lane) == 0
    assert lane.wants_refill
