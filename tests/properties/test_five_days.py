"""Five days in the life of a message, quickly: time that passes costs nothing by itself."""

from __future__ import annotations

import time

from trio.testing import MockClock

from edgerelay.observe.events import LaneDown, LaneUp, MessageAccepted, RecipientRefused, Reported
from edgerelay.policy import Mx
from edgerelay.testing import Hop, RelayHarness, Zone
from edgerelay.testing.wake_ups import WakeUps

CONFIG = """
[[route]]
domains = ["example.com"]
next_hop = ["smtp://10.0.0.5:25"]
recipients = "any"

[[policy]]
use = "greylisting"
delay = "5m"
"""
ZONE: Zone = {
    ("sender.example", "MX"): [Mx(10, "mx.sender.example")],
    ("mx.sender.example", "A"): ["203.0.113.9"],
}
#: Seconds of CPU for the whole scenario: five times what it takes, as a busy machine takes twice
#: as long for the same. To wake every second for five days would take minutes.
WITHIN = 2.0


async def live_through(relay: RelayHarness, backend: Hop, sender: Hop) -> None:
    to = ["bob@example.com", "full@example.com"]
    sent = await relay.send(rcpt_to=to)
    assert [reply[:9] for reply in sent.rcpt.values()] == ["451 4.7.1"] * 2
    await relay.wait(minutes=4)
    assert (await relay.send(rcpt_to=to)).reply.startswith("451 4.7.1")
    backend.down()
    await relay.wait(minutes=1)
    assert (await relay.send(rcpt_to=to)).is_accepted

    await relay.wait(days=2)
    assert backend.messages == []
    assert [event.kind for event in relay.told(Reported)] == ["delayed"]
    assert len(relay.told(LaneDown)) >= 12  # every four hours, at least
    backend.up()
    await relay.wait(hours=4)
    (delivered,) = backend.messages
    assert delivered.rcpts == ("RCPT TO:<bob@example.com>",)
    assert len(relay.told(LaneUp)) == 1

    await relay.wait(days=2, hours=19)
    assert len(sender.messages) == 1
    await relay.wait(hours=1, minutes=1)  # five days after it was accepted
    assert [event.kind for event in relay.told(Reported)] == ["delayed", "failed"]
    assert b"Final-Recipient: rfc822; full@example.com" in sender.contents[1]
    assert sender.contents[1].count(b"Final-Recipient:") == 1
    assert await relay.queue() == []
    assert len(relay.told(MessageAccepted)) == 1
    assert len(relay.told(RecipientRefused)) == 4


async def test_five_days_of_a_message_are_soon_over(autojump_clock: MockClock) -> None:
    began = time.process_time()
    backend, sender = Hop({"RCPT full@example.com": "452 4.2.2 mailbox full"}), Hop()
    hops = {"10.0.0.5": backend, "mx.sender.example": sender}
    async with RelayHarness(CONFIG, zone=ZONE, hops=hops) as relay:
        with WakeUps() as woken:
            await live_through(relay, backend, sender)
    assert time.process_time() - began < WITHIN
    assert woken.steps < 10_000  # a task that woke each second would take 432,000
