"""One message's dialogue: what is said, in how many writes, and what each answer means."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import MockClock

from edgerelay.mail.address import NULL_REVERSE_PATH, Mailbox, ReversePath
from edgerelay.mail.envelope import Body, Envelope
from edgerelay.observe.events import Delivery, Reported
from edgerelay.relay.settings import HopKind
from edgerelay.testing.scripted_peer import DROP, EXTENSIONS, HANG, Drop, Late, Raw
from tests.unit.relay.conftest import hop

if TYPE_CHECKING:
    from tests.unit.relay.conftest import MakeWorld

#: Patience in seconds, so that hanging hops do not take minutes of virtual time.
SHORT = {name: 30.0 for name in ("greeting", "command", "data_start", "data_block", "data_end")}
TO = ("a@example.org", "b@example.org", "c@example.org")


async def test_the_envelope_is_one_write_and_the_content_another(
    make_world: MakeWorld, autojump_clock: MockClock
) -> None:
    async with make_world() as world:
        peer = world.peer()
        async with world.run_relay():
            await world.submit(*TO)
            await trio.sleep(1)
    assert peer.writes[1:] == [
        b"MAIL FROM:<alice@example.net> SIZE=63\r\n"
        b"RCPT TO:<a@example.org>\r\nRCPT TO:<b@example.org>\r\nRCPT TO:<c@example.org>\r\n"
        b"DATA\r\n",
        b"Received: from client.example\r\nSubject: hello\r\n\r\nHello there.\r\n.\r\n",
    ]


async def test_without_pipelining_each_command_waits(
    make_world: MakeWorld, autojump_clock: MockClock
) -> None:
    async with make_world() as world:
        peer = world.peer(extensions=("8BITMIME",))
        async with world.run_relay():
            await world.submit(*TO)
            await trio.sleep(1)
    assert peer.writes[1:-1] == [
        b"MAIL FROM:<alice@example.net>\r\n",
        b"RCPT TO:<a@example.org>\r\n",
        b"RCPT TO:<b@example.org>\r\n",
        b"RCPT TO:<c@example.org>\r\n",
        b"DATA\r\n",
    ]
    assert len(peer.messages) == 1


async def test_a_thousand_recipients_go_in_groups(
    make_world: MakeWorld, autojump_clock: MockClock
) -> None:
    """Else both sides may wait for each other with full buffers."""
    async with make_world() as world:
        peer = world.peer()
        async with world.run_relay():
            await world.submit(*(f"user{number}@example.org" for number in range(1000)))
            await trio.sleep(1)
    (message,) = peer.messages
    assert len(message.rcpts) == 1000
    assert max(write.count(b"RCPT") for write in peer.writes) <= 100


async def test_each_recipient_has_its_own_outcome(
    make_world: MakeWorld, autojump_clock: MockClock
) -> None:
    async with make_world() as world:
        peer = world.peer(
            replies={
                "RCPT a@example.org": "450 4.2.1 later",
                "RCPT b@example.org": "550 5.1.1 nobody",
            }
        )
        async with world.run_relay():
            await world.submit(*TO)
            await trio.sleep(1)
            (left,) = await world.queue()
        assert [str(one.recipient.forward_path) for one in left.recipients] == ["<a@example.org>"]
        assert left.recipients[0].last_reply == "450 4.2.1 later"
        (attempt, *_) = world.seen(Delivery)
        assert attempt.outcome == "mixed"
        assert dict(attempt.recipients)["<c@example.org>"] == "250 2.0.0 taken"
        (report,) = world.seen(Reported)
        assert report.recipients == ["<b@example.org>"]
        assert peer.messages[0].rcpts == ("RCPT TO:<c@example.org>",)


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("552 too many", "452 4.5.3 too many"),
        ("552 5.5.3 too many", "452 4.5.3 too many"),
        ("552 5.2.2 mailbox full", "552 5.2.2 mailbox full"),
    ],
)
async def test_too_many_recipients_is_transient(
    make_world: MakeWorld, autojump_clock: MockClock, said: str, kept: str
) -> None:
    async with make_world() as world:
        world.peer(replies={"RCPT c@example.org": said})
        async with world.run_relay():
            await world.submit(*TO, sender="")
            await trio.sleep(1)
        (attempt,) = world.seen(Delivery)
        assert dict(attempt.recipients)["<c@example.org>"] == kept


async def test_mail_refused_refuses_all(make_world: MakeWorld, autojump_clock: MockClock) -> None:
    async with make_world() as world:
        peer = world.peer(replies={"MAIL": "550 5.7.1 not you"})
        async with world.run_relay():
            await world.submit(*TO, sender="")
            await trio.sleep(1)
        (attempt,) = world.seen(Delivery)
        assert {reply for _, reply in attempt.recipients} == {"550 5.7.1 not you"}
        assert peer.messages == []


async def test_data_refused_refuses_who_was_accepted(
    make_world: MakeWorld, autojump_clock: MockClock
) -> None:
    async with make_world() as world:
        world.peer(replies={"DATA": "451 4.3.0 not now", "RCPT a@example.org": "452 4.5.3 many"})
        async with world.run_relay():
            await world.submit(*TO)
            await trio.sleep(1)
        (attempt,) = world.seen(Delivery)
        assert [reply for _, reply in attempt.recipients] == [
            "452 4.5.3 many",
            "451 4.3.0 not now",
            "451 4.3.0 not now",
        ]


async def test_data_accepted_although_no_recipient_was_means_nothing(
    make_world: MakeWorld, autojump_clock: MockClock
) -> None:
    """RFC 2920 section 3.1: a lone dot follows, and its answer is not about our message."""
    async with make_world() as world:
        peer = world.peer(replies={"RCPT": ["550 5.1.1 no", "250 ok"], "DATA": "354 go on"})
        async with world.run_relay():
            await world.submit(sender="")
            await trio.sleep(1)
            await world.submit()
            await trio.sleep(1)
        outcomes = [event.outcome for event in world.seen(Delivery)]
        assert outcomes == ["failed", "delivered"]
        assert b".\r\n" in peer.writes
        assert peer.connections == 1
        assert len(peer.messages) == 1


async def test_a_transaction_left_open_is_reset(
    make_world: MakeWorld, autojump_clock: MockClock
) -> None:
    """The peer answers 503 to a MAIL within a transaction: RSET comes first."""
    async with make_world() as world:
        peer = world.peer(replies={"RCPT": ["450 4.2.1 later", "250 2.1.5 fine"]})
        async with world.run_relay():
            await world.submit()
            await trio.sleep(1)
            await world.submit()
            await trio.sleep(1)
        assert peer.connections == 1
        assert len(peer.messages) == 1
        assert peer.commands.count("RSET") == 1


async def test_dots_are_doubled_and_arrive_single(
    make_world: MakeWorld, autojump_clock: MockClock
) -> None:
    content = b"Subject: dots\r\n\r\n.one\r\n..two\r\n.\r\nend\r\n"
    async with make_world() as world:
        peer = world.peer()
        async with world.run_relay():
            await world.submit(content=content)
            await trio.sleep(1)
    assert peer.contents == [b"Received: from client.example\r\n" + content]


async def test_large_content_streams(make_world: MakeWorld, autojump_clock: MockClock) -> None:
    content = b"Subject: large\r\n\r\n" + b"." * 70 + b"\r\n"
    content += b".line of text\r\n" * 60_000
    async with make_world() as world:
        peer = world.peer()
        async with world.run_relay():
            await world.submit(content=content)
            await trio.sleep(5)
        assert await world.queue() == []
    assert peer.contents == [b"Received: from client.example\r\n" + content]


@pytest.mark.parametrize(
    "fault",
    [
        {"greeting": HANG},
        {"greeting": DROP},
        {"greeting": "banana"},
        {"greeting": Raw(b"\x00\xff" * 5000)},
        {"EHLO": HANG},
        {"EHLO": DROP},
        {"MAIL": HANG},
        {"MAIL": DROP},
        {"MAIL": "banana"},
        {"MAIL": "354 what"},
        {"RCPT": HANG},
        {"RCPT": DROP},
        {"RCPT": "999 banana"},
        {"RCPT": Drop("421 4.3.2 closing")},
        {"DATA": HANG},
        {"DATA": DROP},
        {"DATA": "250 no"},
        {"DATA": Drop("421 4.3.2 closing")},
        {"content": HANG},
        {"content": DROP},
        {"dot": HANG},
        {"dot": DROP},
        {"dot": "banana"},
        {"dot": "354 more"},
        {"dot": "451 4.3.0 try again"},
        {"dot": Drop("421 4.3.2 closing")},
        {"dot": Raw(b"250 ")},
        {"greeting": Raw(b"220 a\r\n" + 3 * b"250 b\r\n" + b"354 c\r\n250 d\r\n")},
        {"DATA": Raw(b"354 go ahead\r\n250 2.0.0 taken, I am sure\r\n")},
    ],
    ids=str,
)
async def test_whatever_the_hop_does_the_message_stays(
    make_world: MakeWorld, autojump_clock: MockClock, fault: dict[str, object]
) -> None:
    """It is deferred while the hop misbehaves, and delivered once when it behaves."""
    async with make_world(retry=(60.0,), **SHORT) as world:
        peer = world.peer(replies=dict(fault))
        async with world.run_relay():
            await world.submit()
            await trio.sleep(100)
            assert peer.messages == []
            (left,) = await world.queue()
            assert len(left.recipients) == 1
            peer.replies.clear()
            await trio.sleep(100)
            assert await world.queue() == []
    assert len(peer.messages) == 1


async def test_a_late_250_counts(make_world: MakeWorld, autojump_clock: MockClock) -> None:
    async with make_world() as world:
        peer = world.peer(replies={"dot": Late(590, "250 2.0.0 at last")})
        async with world.run_relay():
            await world.submit()
            await trio.sleep(1000)
        assert await world.queue() == []
    assert len(peer.messages) == 1


async def test_a_250_later_than_we_wait_repeats(
    make_world: MakeWorld, autojump_clock: MockClock
) -> None:
    """The one duplicate that the protocol leaves no way around (RFC 1047)."""
    async with make_world(data_end=100.0, retry=(60.0,)) as world:
        peer = world.peer(replies={"dot": [Late(120, "250 2.0.0 at last"), "250 2.0.0 taken"]})
        async with world.run_relay():
            await world.submit()
            await trio.sleep(1000)
        assert await world.queue() == []
        assert [event.outcome for event in world.seen(Delivery)] == ["deferred", "delivered"]
    assert len(peer.messages) >= 1


async def test_lmtp_answers_for_each(make_world: MakeWorld, autojump_clock: MockClock) -> None:
    async with make_world(hop(HopKind.LMTP)) as world:
        peer = world.peer(
            lmtp=True,
            replies={
                "RCPT a@example.org": "550 5.1.1 nobody",
                "dot b@example.org": "452 4.2.2 full",
            },
        )
        async with world.run_relay():
            await world.submit(*TO, sender="")
            await trio.sleep(1)
        (attempt,) = world.seen(Delivery)
        assert [reply for _, reply in attempt.recipients] == [
            "550 5.1.1 nobody",
            "452 4.2.2 full",
            "250 2.0.0 taken",
        ]
        assert peer.commands[0] == "LHLO relay.example.com"


async def test_lmtp_that_drops_is_asked_again_for_who_had_no_answer(
    make_world: MakeWorld, autojump_clock: MockClock
) -> None:
    async with make_world(hop(HopKind.LMTP), retry=(60.0,)) as world:
        peer = world.peer(lmtp=True, replies={"dot b@example.org": [DROP, "250 2.0.0 taken"]})
        async with world.run_relay():
            await world.submit(*TO)
            await trio.sleep(1)
            (left,) = await world.queue()
            assert [str(one.recipient.forward_path) for one in left.recipients] == [
                "<b@example.org>",
                "<c@example.org>",
            ]
            await trio.sleep(100)
        assert await world.queue() == []
    assert [len(message.rcpts) for message in peer.messages] == [3, 2]


async def test_the_parameters_go_on(make_world: MakeWorld, autojump_clock: MockClock) -> None:
    envelope = Envelope(NULL_REVERSE_PATH, body=Body.EIGHT_BIT_MIME, envid="QQ314159")
    async with make_world() as world:
        peer = world.peer(extensions=("PIPELINING", "8BITMIME", "DSN"))
        async with world.run_relay():
            await world.submit(envelope=envelope)
            await trio.sleep(1)
    assert peer.messages[0].mail == ("MAIL FROM:<alice@example.net> BODY=8BITMIME ENVID=QQ314159")


async def test_binary_content_goes_in_one_chunk(
    make_world: MakeWorld, autojump_clock: MockClock
) -> None:
    """RFC 3030 section 3; large or small, its octets are the hop's as they came."""
    contents = [b"A: b\n\n.\r\n.\r\nend", b"A: b\r\n\r\n" + b"\x00\n.\r" * 100_000]
    async with make_world() as world:
        peer = world.peer(extensions=(*EXTENSIONS, "CHUNKING", "BINARYMIME"))
        async with world.run_relay():
            for content in contents:
                envelope = Envelope(NULL_REVERSE_PATH, body=Body.BINARY_MIME)
                await world.submit(content=content, envelope=envelope)
                await trio.sleep(5)
        assert await world.queue() == []
    ours = b"Received: from client.example\r\n"
    assert peer.contents == [ours + content for content in contents]
    assert not [line for line in peer.commands if line == "DATA"]
    assert {line.split()[-1] for line in peer.commands if line.startswith("MAIL")} == {
        "BODY=BINARYMIME"
    }


async def test_binary_content_that_no_recipient_may_have_is_not_sent(
    make_world: MakeWorld, autojump_clock: MockClock
) -> None:
    async with make_world() as world:
        peer = world.peer(
            extensions=(*EXTENSIONS, "CHUNKING", "BINARYMIME"), replies={"RCPT": "550 5.1.1 no"}
        )
        async with world.run_relay():
            envelope = Envelope(NULL_REVERSE_PATH, body=Body.BINARY_MIME)
            await world.submit(envelope=envelope)
            await trio.sleep(1)
        assert world.seen(Delivery)[0].outcome == "failed"
    assert not [line for line in peer.commands if line.startswith("BDAT")]


async def test_a_message_under_requiretls_does_not_go_in_the_clear(
    make_world: MakeWorld, autojump_clock: MockClock
) -> None:
    """RFC 8689 section 4.2.1: also not to a hop that offers it to anybody."""
    async with make_world() as world:
        peer = world.peer(extensions=(*EXTENSIONS, "REQUIRETLS"))
        async with world.run_relay():
            sender = ReversePath(Mailbox.from_text("a@example.net"))
            await world.submit(envelope=Envelope(sender, requiretls=True))
            await trio.sleep(1)
        delivery = world.seen(Delivery)[0]
        assert delivery.outcome == "failed"
        assert delivery.recipients[0][1].startswith("550 5.7.30 REQUIRETLS")
    assert not [line for line in peer.commands if "user@example.org" in line]
