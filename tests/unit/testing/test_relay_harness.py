"""The whole-relay harness: what goes in is what an administrator writes and a client says."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest
import trio
from trio.testing import MockClock

from edgerelay.config import ConfigError
from edgerelay.dns.answer import Mx
from edgerelay.observe.events import Delivery, LaneDown, MessageAccepted, Reported
from edgerelay.testing.hops import Hop
from edgerelay.testing.literal_dns import Zone
from edgerelay.testing.relay_harness import RelayHarness

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
        assert time.perf_counter() - began < 0.5
