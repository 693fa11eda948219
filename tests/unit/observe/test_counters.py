"""What `status` counts."""

from __future__ import annotations

import msgspec

from edgerelay.observe.counters import Counters
from edgerelay.observe.events import (
    Delivery,
    LaneUp,
    MessageAccepted,
    RecipientRefused,
    TurnedAway,
)

MESSAGE = MessageAccepted(
    queue_id="A1",
    session="s",
    client="192.0.2.1:4711",
    helo="h",
    reverse_path="<>",
    recipients=2,
    size=4096,
    duration=0.1,
)
REFUSED = RecipientRefused(
    session="s",
    client="192.0.2.1:4711",
    helo="h",
    command="rcpt",
    reverse_path="<>",
    forward_path="<a@b>",
    reply="550 5.1.1 no",
)


def delivery(outcome: str, *replies: str) -> Delivery:
    return Delivery(
        queue_id="A1",
        lane="mx",
        next_hop="",
        outcome=outcome,
        recipients=[("<a@b>", reply) for reply in replies],
        attempt=1,
        delay=0.0,
    )


def test_messages_and_octets_are_added_up() -> None:
    counters = Counters()
    counters(MESSAGE)
    counters(MESSAGE)
    counters(REFUSED)
    assert counters.counts == {"accepted": 2, "octets": 8192, "refused": 1}


def test_a_delivery_counts_its_recipients_by_outcome() -> None:
    counters = Counters()
    counters(delivery("delivered", "250 ok", "250 ok"))
    counters(delivery("failed", "timed out"))
    counters(delivery("mixed", "250 ok", "451 later", "550 no", "lost"))
    assert counters.counts == {"delivered": 3, "failed": 2, "deferred": 2}


def test_other_events_cost_a_look_up_and_nothing_else() -> None:
    counters = Counters()
    counters(LaneUp(lane="mx"))
    assert not counters.counts


def test_what_was_refused_to_protect_the_relay_is_counted_as_that() -> None:
    counters = Counters()
    counters(TurnedAway(client="192.0.2.1:1", listener="l", why="full"))
    counters(msgspec.structs.replace(REFUSED, reply="452 4.3.1 Insufficient system storage"))
    assert counters.counts == {"refused": 1, "shed": 2}
