"""Who hears of what: failures, delays and successes, and those who must not."""

from __future__ import annotations

from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import MockClock

from edgerelay.mail.address import NULL_REVERSE_PATH
from edgerelay.mail.dsn import ReportKind
from edgerelay.mail.envelope import Envelope, Notify, Ret
from edgerelay.observe.events import Held, Reported
from edgerelay.relay.reports import status_of
from edgerelay.relay.settings import HopKind
from edgerelay.spool.api import Status
from edgerelay.testing.scripted_peer import ScriptedPeer
from tests.unit.relay.conftest import BODY, hop

if TYPE_CHECKING:
    from tests.unit.relay.conftest import MakeWorld

FAIL = {"RCPT user@example.org": "550 5.1.1 nobody of that name"}
LATER = {"RCPT user@example.org": "450 4.2.1 mailbox busy"}


def parsed(content: bytes) -> EmailMessage:
    message = message_from_bytes(content, policy=policy.default)
    assert isinstance(message, EmailMessage)
    return message


def reports(peer: ScriptedPeer) -> list[EmailMessage]:
    """What came for alice, who writes all messages here."""
    return [
        parsed(message.content)
        for message in peer.messages
        if "alice@example.net" in message.rcpts[0]
    ]


async def test_a_failure_is_reported_once(
    make_world: MakeWorld, autojump_clock: MockClock
) -> None:
    async with make_world() as world:
        peer = world.peer(replies=dict(FAIL))
        async with world.run_relay():
            queue_id = await world.submit()
            await trio.sleep(5)
        assert await world.queue() == []
        (event,) = world.seen(Reported)
        assert (event.about, event.kind, event.to) == (queue_id, "failed", "alice@example.net")
    (report,) = reports(peer)
    (message,) = peer.messages
    assert message.mail.startswith("MAIL FROM:<>")
    assert report.get_content_type() == "multipart/report"
    status = report.get_payload(1)
    text = str(status)
    assert "Final-Recipient: rfc822; user@example.org" in text
    assert "Status: 5.1.1" in text
    assert "Diagnostic-Code: smtp; 550 5.1.1 nobody of that name" in text
    assert "Subject: hello" in str(report.get_payload(2))


async def test_all_failures_of_one_attempt_share_a_report(
    make_world: MakeWorld, autojump_clock: MockClock
) -> None:
    async with make_world() as world:
        peer = world.peer(replies={"RCPT a@example.org": "550 no", "RCPT b@example.org": "553 no"})
        async with world.run_relay():
            await world.submit("a@example.org", "b@example.org", "c@example.org")
            await trio.sleep(5)
    (report,) = reports(peer)
    assert str(report).count("Final-Recipient:") == 2


async def test_who_asked_for_no_report_gets_none(
    make_world: MakeWorld, autojump_clock: MockClock
) -> None:
    async with make_world() as world:
        peer = world.peer(replies=dict(FAIL))
        async with world.run_relay():
            await world.submit(notify=Notify.NEVER)
            await trio.sleep(5)
        assert await world.queue() == []
    assert reports(peer) == []


async def test_a_failure_of_a_null_reverse_path_is_held(
    make_world: MakeWorld, autojump_clock: MockClock
) -> None:
    async with make_world() as world:
        peer = world.peer(replies=dict(FAIL))
        async with world.run_relay():
            await world.submit(sender="")
            await trio.sleep(5)
        (held,) = await world.queue()
        assert held.status is Status.HELD
        assert len(world.seen(Held)) == 1
    assert peer.messages == []


async def test_a_report_that_fails_is_held_and_not_reported(
    make_world: MakeWorld, autojump_clock: MockClock
) -> None:
    async with make_world() as world:
        world.peer(replies={"RCPT": "550 5.1.1 nobody at all"})
        async with world.run_relay():
            queue_id = await world.submit()
            await trio.sleep(5)
        (held,) = await world.queue()
        assert held.status is Status.HELD
        assert held.message.about == queue_id
        assert len(world.seen(Reported)) == 1


async def test_the_whole_message_comes_back_if_asked_for(
    make_world: MakeWorld, autojump_clock: MockClock
) -> None:
    async with make_world() as world:
        peer = world.peer(replies=dict(FAIL))
        async with world.run_relay():
            await world.submit(envelope=Envelope(NULL_REVERSE_PATH, ret=Ret.FULL))
            await trio.sleep(5)
    (report,) = reports(peer)
    assert "Hello there." in str(report.get_payload(2))


@pytest.mark.parametrize(
    ("kind", "extensions", "told"),
    [
        (HopKind.SMTP, ("PIPELINING",), "relayed"),
        (HopKind.SMTP, ("PIPELINING", "DSN"), ""),
        (HopKind.LMTP, ("PIPELINING",), "delivered"),
    ],
)
async def test_success_is_told_to_who_asked(
    make_world: MakeWorld,
    autojump_clock: MockClock,
    kind: HopKind,
    extensions: tuple[str, ...],
    told: str,
) -> None:
    async with make_world(hop(kind)) as world:
        peer = world.peer(lmtp=kind is HopKind.LMTP, extensions=extensions)
        async with world.run_relay():
            await world.submit(notify=Notify.SUCCESS)
            await trio.sleep(5)
        assert [event.kind for event in world.seen(Reported)] == ([told] if told else [])
    assert len(reports(peer)) == bool(told)


async def test_a_delay_is_told_once(make_world: MakeWorld, autojump_clock: MockClock) -> None:
    async with make_world(warn_after=600.0, expire=4000.0) as world:
        peer = world.peer(replies=dict(LATER))
        async with world.run_relay():
            await world.submit()
            await trio.sleep(500)
            assert reports(peer) == []
            await trio.sleep(1500)
            (report,) = reports(peer)
            assert "Action: delayed" in str(report.get_payload(1))
            assert "450 4.2.1 mailbox busy" in str(report.get_payload(1))
            (left,) = await world.queue()
            assert left.warned
            await trio.sleep(4000)
        assert [event.kind for event in world.seen(Reported)] == ["delayed", "failed"]
        assert await world.queue() == []


@pytest.mark.parametrize(
    "field", [b"Precedence: bulk", b"precedence:list", b"List-Id: <a.example>", b"List-Post: NO"]
)
async def test_a_delay_is_not_told_to_a_list_but_a_failure_is(
    make_world: MakeWorld, autojump_clock: MockClock, field: bytes
) -> None:
    async with make_world(warn_after=300.0, expire=1000.0) as world:
        world.peer(replies=dict(LATER))
        async with world.run_relay():
            await world.submit(content=field + b"\r\n" + BODY)
            await trio.sleep(2000)
        assert [event.kind for event in world.seen(Reported)] == ["failed"]


@pytest.mark.parametrize(
    ("reply", "status"),
    [
        ("550 5.1.1 nobody", "5.1.1"),
        ("550 nobody", "5.0.0"),
        ("450 4.2.1 busy", "4.2.1"),
        ("", "5.0.0"),
        ("10.0.0.1:25: Connection refused", "5.0.0"),
    ],
)
def test_the_status_of_a_reply(reply: str, status: str) -> None:
    assert status_of(reply, ReportKind.FAILED) == status
