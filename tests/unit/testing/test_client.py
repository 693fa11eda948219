"""The client says what it is told, and tells what it heard."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from edgerelay.testing.client import HungUp, Sent, SmtpClient, stuffed
from edgerelay.testing.memory_transport import memory_transport_pair
from edgerelay.testing.scripted_peer import Drop, ScriptedPeer


async def send_to(peer: ScriptedPeer, message: bytes = b"Subject: x\r\n\r\n.dot\r\n") -> Sent:
    ours, theirs = memory_transport_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(peer.serve, theirs)
        return await SmtpClient(ours).send_message(
            helo="client.example",
            mail_from="ann@sender.example",
            rcpt_to=["bob@example.com", "eve@example.com"],
            message=message,
            parameters={"BODY": "8BITMIME"},
        )
    raise AssertionError("unreachable")


async def test_a_message_is_sent_as_a_plain_client_does(autojump_clock: MockClock) -> None:
    peer = ScriptedPeer({"RCPT eve@example.com": "450 4.2.1 later"})
    sent = await send_to(peer)
    assert sent.is_accepted
    assert sent.is_deferred
    assert sent.reply == sent.dot == "250 2.0.0 taken"
    assert sent.rcpt["eve@example.com"] == "450 4.2.1 later"
    assert peer.contents == [b"Subject: x\r\n\r\n.dot\r\n"]
    assert peer.commands[1] == "MAIL FROM:<ann@sender.example> BODY=8BITMIME"
    assert peer.commands[-1] == "QUIT"


@pytest.mark.parametrize(
    ("key", "heard"),
    [("greeting", "hello"), ("EHLO", "mail"), ("MAIL", "rcpt"), ("DATA", "dot")],
)
async def test_it_goes_no_further_than_it_is_let(
    key: str, heard: str, autojump_clock: MockClock
) -> None:
    peer = ScriptedPeer({key: "451 4.3.0 not now"})
    sent = await send_to(peer)
    assert sent.reply == "451 4.3.0 not now"
    assert sent.is_deferred
    assert not getattr(sent, heard)
    assert peer.commands[-1] == "QUIT"


async def test_a_connection_that_ends_is_what_was_heard_so_far(autojump_clock: MockClock) -> None:
    sent = await send_to(ScriptedPeer({"RCPT": Drop("421 4.3.2 closing")}))
    assert sent.rcpt["bob@example.com"].startswith("421")
    assert not sent.is_accepted


async def test_hearing_after_the_end_raises(autojump_clock: MockClock) -> None:
    ours, theirs = memory_transport_pair()
    await theirs.send(b"220-two\r\n220 lines\r\n")
    await theirs.aclose()
    client = SmtpClient(ours)
    assert await client.hear() == "220-two\n220 lines"
    with pytest.raises(HungUp):
        await client.hear()


def test_dots_are_doubled_where_they_begin_a_line() -> None:
    assert stuffed(b".a\r\nb.\r\n.\r\n") == b"..a\r\nb.\r\n..\r\n"
    assert stuffed(b"no end") == b"no end\r\n"
    assert stuffed(b"") == b""
