"""What the policy promises, at any hour, without waiting for it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from acme_quiet_hours import QUIET, QuietHours
from trio.testing import MockClock

from edgerelay.policy import CONTINUE
from edgerelay.testing import PolicyHarness, RelayHarness, check_policy, wait

NIGHT = datetime(2026, 1, 1, 23, tzinfo=UTC)
OPTIONS = {"mailboxes": ["oncall@example.com"]}
CONFIG = """
[[route]]
domains = ["example.com"]
next_hop = ["smtp://10.0.0.5:25"]
recipients = "any"

[[policy]]
use = "quiet-hours"
mailboxes = ["oncall@example.com"]
"""


async def test_it_is_a_good_policy(autojump_clock: MockClock) -> None:
    await check_policy(QuietHours, options=OPTIONS)


async def test_a_stranger_waits_for_the_morning(autojump_clock: MockClock) -> None:
    async with PolicyHarness(QuietHours, options=OPTIONS, start=NIGHT) as policy:
        assert await policy.rcpt("oncall@example.com") == QUIET
        assert await policy.rcpt("sales@example.com") == CONTINUE
        await wait(hours=7)
        assert await policy.rcpt("oncall@example.com") == CONTINUE


async def test_who_wrote_by_day_is_heard_at_night(autojump_clock: MockClock) -> None:
    async with PolicyHarness(QuietHours, options=OPTIONS) as policy:
        await wait(hours=12)
        await policy.mail("ann@friend.example")
        assert await policy.rcpt("OnCall@Example.COM") == CONTINUE
        await wait(hours=12)
        await policy.mail("ben@friend.example")
        assert await policy.rcpt("oncall@example.com") == CONTINUE
        await policy.mail("eve@stranger.example")
        assert await policy.rcpt("oncall@example.com") == QUIET


async def test_a_report_passes_at_any_hour(autojump_clock: MockClock) -> None:
    async with PolicyHarness(QuietHours, options=OPTIONS, start=NIGHT) as policy:
        await policy.mail("")
        assert await policy.rcpt("oncall@example.com") == CONTINUE


async def test_a_mistake_in_the_options_is_told() -> None:
    with pytest.raises(ValueError, match="0 to 23"):
        PolicyHarness(QuietHours, options={**OPTIONS, "begins": 24})
    with pytest.raises(ValueError, match="mailboxes"):
        PolicyHarness(QuietHours)


async def test_in_a_relay_the_sender_comes_back(autojump_clock: MockClock) -> None:
    async with RelayHarness(CONFIG, start=NIGHT) as relay:
        sent = await relay.send(rcpt_to="oncall@example.com")
        assert sent.reply.startswith("450 4.2.1")
        await relay.wait(hours=8)
        sent = await relay.send(rcpt_to="oncall@example.com")
        assert sent.is_accepted
        assert len(relay.delivered["10.0.0.5:25"]) == 1
