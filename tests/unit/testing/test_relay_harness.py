"""The whole-relay harness: what goes in is what an administrator writes and a client says."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from edgerelay.config import ConfigError
from edgerelay.observe.events import (
    Delivery,
    LaneDown,
    MessageAccepted,
    PolicyNote,
    PolicyObserved,
    Reported,
)
from edgerelay.policy import (
    CONTINUE,
    Defer,
    ForwardPath,
    Hold,
    MailTransaction,
    Message,
    MessageVerdict,
    Mx,
    Policy,
    Prepend,
    Reject,
    Reply,
    RouteTo,
    Tag,
    Verdict,
)
from edgerelay.testing.hops import Hop
from edgerelay.testing.literal_dns import Zone
from edgerelay.testing.relay_harness import RelayHarness
from edgerelay.testing.services import Address, Scanner

CONFIG = """
[[route]]
domains = ["example.com"]
next_hop = ["smtp://10.0.0.5:25"]
recipients = "any"
"""
ZONE: Zone = {
    ("sender.example", "MX"): [Mx(10, "mx.sender.example")],
    ("mx.sender.example", "A"): ["203.0.113.9"],
}


async def test_a_message_arrives(autojump_clock: MockClock) -> None:
    async with RelayHarness(CONFIG) as relay:
        sent = await relay.send(rcpt_to=["bob@example.com", "eve@elsewhere.example"])
        assert sent.is_accepted
        assert sent.rcpt["bob@example.com"].startswith("250 2.1.5")
        assert sent.rcpt["eve@elsewhere.example"].startswith("550 5.7.1")
        (message,) = relay.delivered["10.0.0.5:25"]
        assert message.content.startswith(b"Received: from client.example ([192.0.2.1])")
        assert message.content.endswith(b"\r\nHello, Bob.\r\n")
        assert len(relay.told(MessageAccepted)) == len(relay.told(Delivery)) == 1
        assert await relay.queue() == []
    assert trio.current_time() == 0  # none of that took time


async def test_a_hop_can_be_down_for_days(autojump_clock: MockClock) -> None:
    backend = Hop()
    backend.down()
    hops = {"10.0.0.5": backend, "mx.sender.example": Hop()}
    async with RelayHarness(CONFIG, zone=ZONE, hops=hops) as relay:
        assert (await relay.send()).is_accepted
        await relay.wait(days=1)
        assert backend.messages == []
        assert len(await relay.queue()) == 1
        assert relay.told(LaneDown)
        backend.up()
        await relay.wait(hours=4)
        assert len(backend.messages) == 1
        backend.down()
        await relay.send()
        assert len(backend.messages) == 1


async def test_a_report_finds_the_senders_exchanger(autojump_clock: MockClock) -> None:
    backend, sender = Hop({"RCPT": "550 5.1.1 gone"}), Hop()
    hops = {"10.0.0.5:25": backend, "mx.sender.example": sender}
    async with RelayHarness(CONFIG, zone=ZONE, hops=hops) as relay:
        await relay.send()
        (report,) = relay.delivered["mx.sender.example:25"]
        assert report.mail.startswith("MAIL FROM:<>")
        assert b"Action: failed" in report.content
        assert [event.kind for event in relay.told(Reported)] == ["failed"]


async def test_a_conversation_can_be_held_by_hand(autojump_clock: MockClock) -> None:
    async with RelayHarness(CONFIG) as relay:
        client = relay.connect("2001:db8::1")
        assert (await client.hear()).startswith("220 mx.example.test")
        assert (await client.ask("RCPT TO:<bob@example.com>")).startswith("503")
        await relay.wait(minutes=6)
        assert (await client.hear()).startswith("421")


async def test_the_wall_clock_goes_with_virtual_time(autojump_clock: MockClock) -> None:
    sunday = datetime(2026, 3, 1, 12, tzinfo=UTC)
    async with RelayHarness(CONFIG, start=sunday) as relay:
        await relay.wait(hours=2)
        await relay.send()
        (message,) = relay.delivered["10.0.0.5:25"]
    assert b"Sun, 01 Mar 2026 14:00:00 +0000" in message.content


async def test_a_bad_configuration_is_told_as_serve_tells_it(autojump_clock: MockClock) -> None:
    with pytest.raises(ConfigError, match=r"edgerelay.toml:5: .*recipient.*recipients"):
        RelayHarness(CONFIG.replace("recipients", "recipient"))
    with pytest.raises(ConfigError, match="not TOML"):
        RelayHarness("[[route")


async def test_a_hop_without_an_address_is_an_error(autojump_clock: MockClock) -> None:
    config = CONFIG.replace("10.0.0.5", "backend.example.net")
    with pytest.raises(ValueError, match=r"backend\.example\.net:25 has no address"):
        async with RelayHarness(config):
            pass
    zone = {("backend.example.net", "AAAA"): ["2001:db8::5"]}
    async with RelayHarness(config, zone=zone) as relay:
        await relay.send()
        assert len(relay.delivered["backend.example.net:25"]) == 1


async def test_real_time_is_refused() -> None:
    with pytest.raises(RuntimeError, match="autojump_clock"):
        async with RelayHarness(CONFIG):
            pass


async def test_an_error_of_the_test_leaves_as_it_is(autojump_clock: MockClock) -> None:
    async def fail_in_the_middle() -> None:
        async with RelayHarness(CONFIG) as relay:
            await relay.connect().hear()
            raise LookupError

    with pytest.raises(LookupError):
        await fail_in_the_middle()


async def test_five_days_of_waiting_are_nothing(autojump_clock: MockClock) -> None:
    async with RelayHarness(CONFIG) as relay:
        began = time.perf_counter()
        await relay.wait(days=5)
        assert time.perf_counter() - began < 30  # and not five days


class Patient(Policy[Any]):
    """Defers a client's first attempt at each recipient; holds, scans and routes by name."""

    has_effects = True

    async def on_rcpt(self, transaction: MailTransaction, forward_path: ForwardPath) -> Verdict:
        key = f"{transaction.session.client} {forward_path}"
        first = float(
            await self.services.table().setdefault(
                key, b"%f" % self.services.now(), expires_in=86400
            )
        )
        if self.services.now() - first < 300:
            return Defer(Reply(451, "4.7.1", "Come back in five minutes"))
        return CONTINUE

    async def on_message(self, transaction: MailTransaction, message: Message) -> MessageVerdict:
        match message.named("subject")[0].unfolded:
            case "hold":
                return Hold("by its subject")
            case "route":
                return Tag((RouteTo(("smtp://10.0.0.6:25",)), Prepend("X-Routed", "yes")))
            case "scan":
                async with await self.services.connect(("127.0.0.1", 3310), timeout=5) as stream:
                    await stream.send_all(message.body or b"")
                    return Reject(Reply(550, "5.7.1", (await stream.receive_some()).decode()))
        self.services.log("seen", size=message.size)
        return CONTINUE


PATIENT = """
[[policy]]
use = "patient"
"""


async def scan(stream: trio.abc.Stream) -> None:
    await stream.send_all((await stream.receive_some()).strip()[::-1])


def message(subject: str) -> bytes:
    return f"Subject: {subject}\r\n\r\nabc".encode()


async def test_the_policies_of_the_configuration_decide(autojump_clock: MockClock) -> None:
    hops = {"10.0.0.6": Hop()}
    scanners: dict[Address, Scanner] = {("127.0.0.1", 3310): scan}
    async with RelayHarness(
        CONFIG + PATIENT, policies={"patient": Patient}, hops=hops, scanners=scanners
    ) as relay:
        assert (await relay.send()).reply.startswith("451 4.7.1 Come back in five minutes")
        await relay.wait(minutes=5)
        assert (await relay.send()).is_accepted
        assert relay.told(PolicyNote)[0].text == "seen"
        assert (await relay.send(client="192.0.2.2")).is_deferred
        assert (await relay.send(message=message("scan"))).dot.startswith("550 5.7.1 cba")
        assert (await relay.send(message=message("route"))).is_accepted
        assert (await relay.send(message=message("hold"))).is_accepted
        assert len(relay.delivered["10.0.0.5:25"]) == 1
        (routed,) = relay.delivered["10.0.0.6:25"]
        assert b"X-Routed: yes\r\n" in routed.content
        (held,) = await relay.queue()
        assert held.reason == "patient: by its subject"


async def test_an_observed_policy_changes_nothing(autojump_clock: MockClock) -> None:
    observed = CONFIG + PATIENT + 'mode = "observe"\n'
    async with RelayHarness(observed, policies={"patient": Patient}) as relay:
        assert (await relay.send()).is_accepted
        assert relay.told(PolicyObserved)[0].policy == "patient"


async def test_a_policy_that_is_not_there_is_a_problem_of_the_configuration() -> None:
    with pytest.raises(ConfigError, match="no policy of that name"):
        RelayHarness(CONFIG + PATIENT)
