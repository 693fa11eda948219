"""Conversations with one session, in virtual time."""

from __future__ import annotations

from contextlib import suppress
from ipaddress import ip_network
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from edgerelay.edge.settings import ListenerSettings
from edgerelay.mail.envelope import Notify
from edgerelay.net.transport import ConnectionLost, TransportError
from edgerelay.observe.events import MessageAccepted, RecipientRefused, SessionEnded, Trouble
from edgerelay.spool.api import SpoolFull, SpoolUnavailable

World = Any  # tests/unit/edge/conftest.py
ENVELOPE = "C: MAIL FROM:<a@example.com>\nS: 250 2.1.0\nC: RCPT TO:<b@example.org>\nS: 250 2.1.5"


async def test_a_message_is_committed_before_its_250(
    autojump_clock: MockClock, world: World
) -> None:
    world.spool.commit_takes = 3.0
    client = await world.greeted()
    await client.dialogue(
        """
        C: MAIL FROM:<a@example.com> BODY=8BITMIME
        S: 250 2.1.0
        C: RCPT TO:<b@example.org> NOTIFY=DELAY
        S: 250 2.1.5
        C: DATA
        S: 354
        C: Subject: hello
        C:
        C: ..a line that began with a dot
        C: .
        """
    )
    assert not world.spool.messages
    heard = await client.hear()
    message = world.spool.messages[0]
    queue_id = message.queue_id
    assert heard == f"250 2.0.0 Ok: queued as {queue_id}"
    assert world.spool.contents == [b"Subject: hello\r\n\r\n.a line that began with a dot\r\n"]
    assert str(message.envelope.reverse_path) == "<a@example.com>"
    assert [(d.lane, [str(r.forward_path) for r in d.recipients]) for d in message.deliveries] == [
        ("mx:example.org", ["<b@example.org>"])
    ]
    assert message.deliveries[0].recipients[0].notify is Notify.DELAY
    assert message.prepend == (
        b"Received: from client.example ([192.0.2.1])\r\n"
        b"\tby mx.example.org (edgerelay) with ESMTP id %b\r\n"
        b"\tfor <b@example.org>;\r\n"
        b"\tTue, 14 Nov 2023 22:13:20 +0000\r\n" % queue_id.encode()
    )
    await client.dialogue("C: QUIT\nS: 221 2.0.0")
    assert await client.is_hung_up()
    (accepted,) = world.told(MessageAccepted)
    assert (accepted.queue_id, accepted.recipients, accepted.size) == (queue_id, 1, 49)
    assert accepted.duration == 3.0
    (ended,) = world.told(SessionEnded)
    assert (ended.end, ended.accepted, ended.refused, ended.errors) == ("quit", 1, 0, 0)
    assert (ended.client, ended.helo, ended.listener) == (
        "192.0.2.1:4711",
        "client.example",
        "test",
    )


async def test_recipients_of_one_lane_are_one_delivery(
    autojump_clock: MockClock, world: World
) -> None:
    client = await world.greeted()
    await client.dialogue(
        """
        C: MAIL FROM:<>
        S: 250
        C: RCPT TO:<b@example.org>
        S: 250
        C: RCPT TO:<c@example.net>
        S: 250
        C: RCPT TO:<d@EXAMPLE.ORG>
        S: 250
        C: RCPT TO:<b@Example.Org>
        S: 250
        C: RCPT TO:<B@example.org>
        S: 250
        C: DATA
        S: 354
        C: .
        S: 250 2.0.0
        """
    )
    (message,) = world.spool.messages
    assert {d.lane: [str(r.forward_path) for r in d.recipients] for d in message.deliveries} == {
        "mx:example.org": ["<b@example.org>", "<d@EXAMPLE.ORG>", "<B@example.org>"],
        "mx:example.net": ["<c@example.net>"],
    }
    assert b"for <" not in message.prepend
    assert world.directory.asked.count("b@Example.Org") == 0


async def test_a_pipelined_group_is_answered_in_one_write(
    autojump_clock: MockClock, world: World
) -> None:
    client = await world.greeted()
    await client.say(
        "MAIL FROM:<a@example.com>",
        "RCPT TO:<nobody@example.org>",
        "RCPT TO:<b@example.org>",
        "DATA",
    )
    data = await client.transport.receive()
    codes = [line[:3] for line in data.decode().splitlines()]
    assert codes == ["250", "550", "250", "354"]
    await client.raw(b"x\r\n.\r\nQUIT\r\n")
    assert (await client.transport.receive()).count(b"\r\n") == 2


async def test_what_is_refused_at_rcpt_says_why_and_carries_the_token(
    autojump_clock: MockClock, world: World
) -> None:
    client = await world.greeted()
    await client.dialogue(
        r"""
        C: MAIL FROM:<a@example.com>
        S: 250
        C: RCPT TO:<nobody@example.org>
        S: 550 5\.1\.1 No such recipient here \(s=\w+\)$
        C: RCPT TO:<x@elsewhere.example>
        S: 550 5\.7\.1
        C: RCPT TO:<later@example.org>
        S: 451 4\.4\.0
        C: DATA
        S: 554 5\.5\.1
        C: QUIT
        S: 221
        """
    )
    assert await client.is_hung_up()
    (ended,) = world.told(SessionEnded)
    refused = world.told(RecipientRefused)
    assert [event.forward_path for event in refused] == [
        "<nobody@example.org>",
        "<x@elsewhere.example>",
        "<later@example.org>",
    ]
    assert {event.session for event in refused} == {ended.session}
    assert (ended.refused, ended.errors) == (3, 3)  # the deferral is no error, DATA was one


async def test_errors_are_borne_until_the_budget_is_spent(
    autojump_clock: MockClock, world: World
) -> None:
    world.set(errors_per_session=3)
    client = await world.greeted()
    for _ in range(3):
        await client.dialogue("C: WHAT\nS: 500 5.5.1")
    await client.dialogue(
        r"C: WHAT" + "\n" + r"S: 421 4\.7\.0 mx\.example\.org Too many errors \(s="
    )
    assert await client.is_hung_up()
    assert world.told(SessionEnded)[0].end == "errors"


async def test_a_dictionary_of_names_ends_with_421(
    autojump_clock: MockClock, world: World
) -> None:
    client = await world.greeted()
    await client.dialogue("C: MAIL FROM:<a@example.com>\nS: 250")
    answers = []
    for number in range(21):
        await client.say(f"RCPT TO:<nobody{number}@example.org>")
        answers.append((await client.hear())[:3])
    assert answers == ["550"] * 20 + ["421"]
    assert await client.is_hung_up()


async def test_deferrals_do_not_spend_the_budget(autojump_clock: MockClock, world: World) -> None:
    world.set(errors_per_session=2)
    client = await world.greeted()
    await client.dialogue("C: MAIL FROM:<a@example.com>\nS: 250")
    for _ in range(10):
        await client.dialogue("C: RCPT TO:<later@example.org>\nS: 451")


async def test_too_many_recipients_are_for_another_transaction(
    autojump_clock: MockClock, world: World
) -> None:
    world.set(recipients_per_message=2)
    client = await world.greeted()
    await client.dialogue(
        r"""
        C: MAIL FROM:<a@example.com>
        S: 250
        C: RCPT TO:<a@example.org>
        S: 250
        C: RCPT TO:<b@example.org>
        S: 250
        C: RCPT TO:<b@example.org>
        S: 250
        C: RCPT TO:<c@example.org>
        S: 452 4\.5\.3
        """
    )


@pytest.mark.parametrize(
    ("content", "reply"),
    [
        (b"bare\nnewline\r\n", "550 5.6.11"),
        (b"bare\rreturn\r\n", "550 5.6.11"),
        (b"x" * 2000 + b"\r\n", "552 5.3.4"),
        (b"Received: by other.example\r\n" * 101 + b"\r\n", "554 5.4.6"),
        (b"Received: from x by mx.example.org; y\r\n" * 11 + b"\r\n", "554 5.4.6"),
        (b"Delivered-To: <B@Example.org>\r\n\r\n", "554 5.4.6"),
        (b"y" * 999 + b"\r\n", "550 5.6.0"),
    ],
)
async def test_what_may_not_come_in_is_refused_at_the_dot(
    autojump_clock: MockClock, world: World, content: bytes, reply: str
) -> None:
    world.set(message_size=1000 if content[:1] == b"x" else 100_000, long_lines="reject")
    client = await world.greeted()
    await client.dialogue(f"{ENVELOPE}\nC: DATA\nS: 354")
    await client.raw(content + b".\r\n")
    assert (await client.hear()).startswith(reply)
    assert not world.spool.messages
    await world.assert_no_content()
    assert (await client.send_mail()).startswith("250")
    assert world.told(RecipientRefused)[0].command == "data"


async def test_what_somebody_else_was_delivered_is_no_loop(
    autojump_clock: MockClock, world: World
) -> None:
    client = await world.greeted()
    assert (await client.send_mail("Delivered-To: c@example.org\r\n\r\n")).startswith("250")
    assert (await client.send_mail("\r\nDelivered-To: b@example.org\r\n")).startswith("250")
    # Of two recipients one has not had it yet.
    await client.dialogue(f"{ENVELOPE}\nC: RCPT TO:<c@example.org>\nS: 250\nC: DATA\nS: 354")
    await client.raw(b"Delivered-To: b@example.org\r\n\r\n.\r\n")
    assert (await client.hear()).startswith("250")


@pytest.mark.parametrize("first", [" for <victim@example.org>; fake", "\tx", "   "])
async def test_content_that_begins_with_white_space_adds_nothing_to_our_field(
    autojump_clock: MockClock, world: World, first: str
) -> None:
    client = await world.greeted()
    content = f"{first}\r\nSubject: x\r\n\r\nhello\r\n"
    assert (await client.send_mail(content)).startswith("250")
    assert world.spool.contents == [content.encode()]
    assert world.spool.messages[0].prepend.endswith(b"+0000\r\n\r\n")


async def test_octets_of_a_refused_chunk_have_as_long_as_any(
    autojump_clock: MockClock, world: World
) -> None:
    world.set(command_timeout=10.0, data_timeout=10.0)
    client = await world.greeted()
    await client.raw(b"BDAT 60000 LAST\r\n")
    for _ in range(60):
        await trio.sleep(1)
        await client.raw(b"x" * 1000)
    assert (await client.hear()).startswith("503 5.5.1")
    await client.raw(b"BDAT 60000 LAST\r\n")
    for _ in range(30):  # but not for ever
        await trio.sleep(1)
        with suppress(TransportError):
            await client.raw(b"x" * 100)
    assert (await client.hear()).startswith("421 4.4.2")


async def test_where_another_system_delivers_first_its_copy_is_taken(
    autojump_clock: MockClock, world: World
) -> None:
    world.set(delivered_before="accept")
    client = await world.greeted()
    assert (await client.send_mail("Delivered-To: b@example.org\r\n\r\n")).startswith("250")


async def test_our_own_house_may_send_again_what_was_delivered(
    autojump_clock: MockClock, world: World
) -> None:
    world.set(relay_from=(ip_network("192.0.2.0/24"),))
    client = await world.greeted()
    assert (await client.send_mail("Delivered-To: b@example.org\r\n\r\n")).startswith("250")


async def test_a_listener_that_splits_takes_recipients_of_one_route(
    autojump_clock: MockClock, world: World
) -> None:
    world.listener = ListenerSettings("test", split=True)
    client = await world.greeted()
    await client.dialogue(
        r"""
        C: MAIL FROM:<a@example.com>
        S: 250
        C: RCPT TO:<nobody@example.net>
        S: 550
        C: RCPT TO:<a@example.org>
        S: 250
        C: RCPT TO:<b@example.net>
        S: 452 4\.5\.3 Send to this recipient in another message
        C: RCPT TO:<nobody@example.net>
        S: 550
        C: RCPT TO:<b@example.org>
        S: 250
        C: RSET
        S: 250
        C: MAIL FROM:<a@example.com>
        S: 250
        C: RCPT TO:<b@example.net>
        S: 250
        C: RCPT TO:<a@example.org>
        S: 452 4\.5\.3
        """
    )
    assert world.told(RecipientRefused)[1].forward_path == "<b@example.net>"


async def test_who_hears_of_each_recipient_needs_no_split(
    autojump_clock: MockClock, world: World
) -> None:
    world.listener = ListenerSettings("test", split=True)
    client = await world.greeted()
    await client.dialogue(
        """
        C: MAIL FROM:<a@example.com> PRDR
        S: 250
        C: RCPT TO:<a@example.org>
        S: 250
        C: RCPT TO:<b@example.net>
        S: 250
        """
    )


async def test_mail_that_passed_us_ten_times_is_no_loop(
    autojump_clock: MockClock, world: World
) -> None:
    client = await world.greeted()
    content = (
        "Received: from x by mx.example.org; y\r\n" * 10
        + "\r\n"
        + ("Received: by body.example\r\n" * 200)
    )
    assert (await client.send_mail(content)).startswith("250")


@pytest.mark.parametrize(
    ("error", "reply"),
    [(SpoolFull("/secret"), "452 4.3.1"), (SpoolUnavailable("/secret"), "451 4.3.0")],
)
async def test_what_the_disk_refuses_is_answered_after_the_dot(
    autojump_clock: MockClock, world: World, error: Exception, reply: str
) -> None:
    world.spool.commit_error = error
    client = await world.greeted()
    answer = await client.send_mail()
    assert answer.startswith(reply)
    assert "secret" not in answer
    await world.assert_no_content()
    assert world.told(Trouble)[0].detail == "/secret"
    world.spool.commit_error = None
    assert (await client.send_mail()).startswith("250")


async def test_a_disk_that_fills_while_content_arrives_is_told_at_the_dot(
    autojump_clock: MockClock, world: World
) -> None:
    world.disk.room = 600_000
    client = await world.greeted()
    answer = await client.send_mail("Subject: big\r\n\r\n" + "x" * 2_000_000 + "\r\n")
    assert answer.startswith("452 4.3.1")
    await world.assert_no_content()
    assert world.disk.files == {}


async def test_large_content_passes_through_a_file(
    autojump_clock: MockClock, world: World
) -> None:
    client = await world.greeted()
    answer = await client.send_mail("Subject: big\r\n\r\n" + "x" * 2_000_000 + "\r\n")
    assert answer.startswith("250")
    assert [len(data) for data in world.disk.files.values()] == [2_000_018]


async def test_next_to_a_full_disk_mail_is_deferred_at_mail_and_again_at_data(
    autojump_clock: MockClock,
    world: World,
) -> None:
    client = await world.greeted()
    world.spool.accepts_mail = False
    await client.dialogue(r"C: MAIL FROM:<a@example.com>" + "\n" + r"S: 452 4\.3\.1")
    world.spool.accepts_mail = True
    await client.dialogue(
        "C: MAIL FROM:<a@example.com>\nS: 250\nC: RCPT TO:<b@example.org>\nS: 250"
    )
    world.spool.accepts_mail = False
    await client.dialogue("C: DATA\nS: 452 4.3.1")
    world.spool.accepts_mail = True
    await client.dialogue("C: DATA\nS: 354\nC: .\nS: 250")


async def test_content_in_flight_is_bounded_over_all_sessions(
    autojump_clock: MockClock, world: World
) -> None:
    world.set(content_memory=10_000)
    big, other = await world.greeted(), await world.greeted("192.0.2.2:1")
    await big.dialogue(
        "C: MAIL FROM:<a@example.com>\nS: 250\nC: RCPT TO:<b@example.org>\nS: 250\nC: DATA\nS: 354"
    )
    await big.raw(b"x" * 12_000)
    await trio.sleep(1)
    assert world.edge.gauges()["content"] == 12_000
    await other.dialogue("C: MAIL FROM:<a@example.com>\nS: 452 4.3.1")
    await big.raw(b"\r\n.\r\n")
    assert (await big.hear()).startswith("250")
    assert (await other.send_mail()).startswith("250")


async def test_commands_that_ask_nothing_of_mail(autojump_clock: MockClock, world: World) -> None:
    client = await world.greeted()
    await client.dialogue(
        r"""
        C: NOOP whatever
        S: 250 2\.0\.0
        C: VRFY somebody
        S: 252 2\.
        C: EXPN list
        S: 502 5\.5\.1
        C: HELP
        S: 214-2\.0\.0
        C: RSET
        S: 250 2\.0\.0
        C: HELO again.example
        S: 250 mx\.example\.org
        """
    )
    assert (await client.send_mail()).startswith("250")
    assert b"from again.example ([192.0.2.1])" in world.spool.messages[0].prepend
    assert b"with SMTP id" in world.spool.messages[0].prepend


async def test_a_policy_that_raises_costs_a_421_and_tells_the_client_nothing(
    autojump_clock: MockClock,
    world: World,
) -> None:
    client = await world.greeted()
    await client.dialogue(
        r"""
        C: MAIL FROM:<a@example.com>
        S: 250
        C: RCPT TO:<crash@example.org>
        S: 421 4\.3\.0 mx\.example\.org Local trouble, try again later \(s=\w+\)$
        """
    )
    assert await client.is_hung_up()
    assert world.told(Trouble)[0].detail.endswith(": LookupError: secret-table.db")
    assert world.told(SessionEnded)[0].end == "trouble"


# --- time -----------------------------------------------------------------------------------


async def test_a_silent_client_hears_421_after_the_command_timeout(
    autojump_clock: MockClock, world: World
) -> None:
    client = await world.greeted()
    start = trio.current_time()
    assert (await client.hear()).startswith("421 4.4.2 mx.example.org Timeout")
    assert 300 <= trio.current_time() - start <= 302
    assert await client.is_hung_up()
    assert world.told(SessionEnded)[0].end == "timeout"


async def drip(client: Any, octets: bytes) -> None:
    """One a minute."""
    for octet in octets:
        await client.raw(bytes([octet]))
        await trio.sleep(60)


async def test_an_octet_a_minute_is_no_command(autojump_clock: MockClock, world: World) -> None:
    client = await world.greeted()
    start = trio.current_time()
    with pytest.raises(ConnectionLost):
        await drip(client, b"NOOP " + b"x" * 100)
    assert 300 <= trio.current_time() - start <= 362
    assert (await client.hear()).startswith("421 4.4.2 mx.example.org Timeout")


async def test_commands_in_single_octets_are_commands(
    autojump_clock: MockClock, world: World
) -> None:
    client = await world.greeted()
    for _ in range(3):
        for octet in b"NOOP\r\n":
            await trio.sleep(40)
            await client.raw(bytes([octet]))
        assert await client.hear() == "250 2.0.0 Ok"


async def test_an_octet_a_minute_is_no_content(autojump_clock: MockClock, world: World) -> None:
    client = await world.greeted()
    await client.dialogue(f"{ENVELOPE}\nC: DATA\nS: 354")
    start = trio.current_time()
    with pytest.raises(ConnectionLost):
        await drip(client, b"x" * 100)
    assert 300 <= trio.current_time() - start <= 362
    assert (await client.hear()).startswith("421 4.4.2")
    await world.assert_nothing_leaks()


async def test_a_slow_line_may_take_its_time(autojump_clock: MockClock, world: World) -> None:
    """Longer than a session may last: it is asked to go once the transaction is over."""
    client = await world.greeted()
    await client.dialogue(f"{ENVELOPE}\nC: DATA\nS: 354")
    line = b"x" * 998 + b"\r\n"
    for _ in range(600):
        await client.raw(line * 2)
        await trio.sleep(4)  # 500 octets a second
    await client.raw(b".\r\n")
    assert (await client.hear()).startswith("250")
    assert (await client.hear()).startswith("421 4.4.2 mx.example.org This session has lasted")


async def test_who_was_fast_may_not_be_slow_for_hours(
    autojump_clock: MockClock, world: World
) -> None:
    client = await world.greeted()
    await client.dialogue(f"{ENVELOPE}\nC: DATA\nS: 354")
    for _ in range(30):
        await client.raw((b"x" * 998 + b"\r\n") * 60)  # an hour's worth
    start = trio.current_time()
    with pytest.raises(ConnectionLost):
        await drip(client, b"x" * 100)
    assert trio.current_time() - start <= 900
    assert (await client.hear()).startswith("421 4.4.2")


async def test_noop_between_chunks_pays_for_nothing(
    autojump_clock: MockClock, world: World
) -> None:
    client = await world.greeted()
    await client.dialogue(ENVELOPE)
    await client.raw(b"BDAT 100000\r\n" + (b"x" * 998 + b"\r\n") * 100)
    assert (await client.hear()).startswith("250")
    start, reply = trio.current_time(), "250"
    while reply.startswith("250"):
        await trio.sleep(250)
        with suppress(TransportError):
            await client.raw(b"NOOP\r\n")
        reply = await client.hear()
    assert reply.startswith("421 4.4.2")
    assert trio.current_time() - start <= 1000


async def test_content_that_will_be_refused_is_let_go_at_once(
    autojump_clock: MockClock, world: World
) -> None:
    world.set(message_size=100_000)
    client = await world.greeted()
    await client.dialogue(f"{ENVELOPE}\nC: DATA\nS: 354")
    await client.raw((b"x" * 998 + b"\r\n") * 101)
    await trio.testing.wait_all_tasks_blocked()
    await world.assert_no_content()
    await client.raw(b".\r\n")
    assert (await client.hear()).startswith("552 5.3.4")


async def test_one_recipient_cannot_be_named_for_ever(
    autojump_clock: MockClock, world: World
) -> None:
    world.set(recipients_per_message=2)
    client = await world.greeted()
    await client.dialogue(ENVELOPE)
    for _ in range(3):
        await client.dialogue("C: RCPT TO:<b@example.org>\nS: 250")
    await client.dialogue("C: RCPT TO:<b@example.org>\nS: 452 4\\.5\\.3")


async def test_who_never_means_to_come_again_is_let_go(
    autojump_clock: MockClock, world: World
) -> None:
    world.set(recipients_per_message=1, errors_per_session=20)
    client = await world.greeted()
    await client.dialogue(ENVELOPE)
    heard: list[str] = []
    while not heard or heard[-1][:3] != "421":
        await client.raw(b"RCPT TO:<other@example.org>\r\n")
        heard.append(await client.hear())
    assert len(heard) == 1000 + 20 + 1
    assert await client.is_hung_up()


async def test_mail_data_that_stops_is_thrown_away(
    autojump_clock: MockClock, world: World
) -> None:
    client = await world.greeted()
    await client.dialogue(f"{ENVELOPE}\nC: DATA\nS: 354")
    await client.say("Subject: half")
    assert (await client.hear()).startswith("421 4.4.2")
    assert await client.is_hung_up()
    await world.assert_nothing_leaks()


async def test_a_client_that_reads_nothing_is_let_go(
    autojump_clock: MockClock, world: World
) -> None:
    client = world.connect(capacity=100)
    with pytest.raises(ConnectionLost):
        await client.raw(b"NOOP\r\n" * 1000)
    assert world.told(SessionEnded)[0].end == "timeout"


# --- the end of it --------------------------------------------------------------------------


WAYS = [b"", b"MAIL FROM:<a@example.com>\r\n", b"RCPT TO:<b@example.org>\r\n", b"DATA\r\n"]
WAYS += [b"Subject: x\r\n", b"\r\nhalf a mess", b"age\r\n.\r"]


@pytest.mark.parametrize("steps", range(1, len(WAYS) + 1))
@pytest.mark.parametrize("politely", [True, False])
async def test_a_client_lost_at_any_step_leaves_nothing(
    autojump_clock: MockClock, world: World, steps: int, politely: bool
) -> None:
    client = await world.greeted()
    for words in WAYS[:steps]:
        if words:
            await client.raw(words)
            await trio.sleep(1)
    if politely:
        await client.transport.aclose()
    else:
        client.transport.abort()
    await trio.sleep(5)
    await world.assert_nothing_leaks()
    assert not world.spool.messages
    assert world.told(SessionEnded)[0].end == "lost"


async def test_a_client_lost_after_the_dot_has_sent_its_mail(
    autojump_clock: MockClock, world: World
) -> None:
    world.spool.commit_takes = 5.0
    client = await world.greeted()
    await client.say("MAIL FROM:<a@example.com>", "RCPT TO:<b@example.org>", "DATA")
    await client.raw(b"")
    await trio.sleep(1)
    await client.raw(b"x\r\n.\r\n")
    await trio.sleep(1)
    client.transport.abort()
    await trio.sleep(10)
    assert len(world.spool.messages) == 1
    assert world.told(SessionEnded)[0].accepted == 1


async def test_an_idle_client_hears_421_at_once_when_we_stop(
    autojump_clock: MockClock, world: World
) -> None:
    client = await world.greeted()
    start = trio.current_time()
    world.edge.stop()
    assert (await client.hear()).startswith("421 4.3.2 mx.example.org Service shutting down")
    assert trio.current_time() == start
    assert await client.is_hung_up()
    assert world.told(SessionEnded)[0].end == "shutdown"


async def test_a_transaction_is_finished_before_we_stop(
    autojump_clock: MockClock, world: World
) -> None:
    client = await world.greeted()
    await client.dialogue("C: MAIL FROM:<a@example.com>\nS: 250")
    world.edge.stop()
    await client.dialogue(
        """
        C: RCPT TO:<b@example.org>
        S: 250
        C: DATA
        S: 354
        C: .
        S: 250
        S: 421 4.3.2
        """
    )
    assert await client.is_hung_up()


async def test_a_new_client_is_turned_away_while_we_stop(
    autojump_clock: MockClock, world: World
) -> None:
    world.edge.stop()
    client = world.connect()
    assert (await client.hear()).startswith("220")
    assert (await client.hear()).startswith("421 4.3.2")


async def test_a_cancelled_session_says_421(autojump_clock: MockClock, world: World) -> None:
    async with trio.open_nursery() as world.nursery:
        client = await world.greeted()
        await client.dialogue("C: MAIL FROM:<a@example.com>\nS: 250")
        world.nursery.cancel_scope.cancel()
    assert (await client.hear()).startswith("421 4.3.2")
    assert await client.is_hung_up()


async def test_the_250_of_a_commit_is_said_even_if_we_are_cancelled_meanwhile(
    autojump_clock: MockClock, world: World
) -> None:
    world.spool.commit_takes = 5.0
    async with trio.open_nursery() as world.nursery:
        client = await world.greeted()
        await client.say("MAIL FROM:<a@example.com>", "RCPT TO:<b@example.org>", "DATA")
        for _ in range(3):
            await client.hear()
        await client.raw(b"x\r\n.\r\n")
        await trio.sleep(1)
        world.nursery.cancel_scope.cancel()
    assert (await client.hear()).startswith("250")
    assert (await client.hear()).startswith("421 4.3.2")


async def test_what_a_client_says_reaches_events_escaped(
    autojump_clock: MockClock, world: World
) -> None:
    client = await world.greeted()
    await client.say("MAIL FROM:<\u200ba@example.com> SMTPUTF8", "RCPT TO:<nobody@example.org>")
    assert (await client.hear()).startswith("250")
    await client.hear()
    assert world.told(RecipientRefused)[0].reverse_path == "<\\u200ba@example.com>"


async def test_a_message_may_come_in_chunks(autojump_clock: MockClock, world: World) -> None:
    """RFC 3030 section 4.2: pipelined, and committed with the last."""
    client = await world.greeted()
    await client.raw(
        b"MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\n"
        b"BDAT 12\r\nA: b\r\n\r\n.\r\nxBDAT 2 LAST\r\n\r\n"
    )
    heard = [await client.hear() for _ in range(4)]
    assert heard[2] == "250 2.0.0 Ok: 12 octets"
    assert heard[3].startswith("250 2.0.0 Ok: queued as ")
    assert world.spool.contents == [b"A: b\r\n\r\n.\r\nx\r\n"]


async def test_chunks_after_reset_are_nobodys(autojump_clock: MockClock, world: World) -> None:
    client = await world.greeted()
    await client.dialogue(ENVELOPE)
    await client.raw(b"BDAT 3\r\nx\r\nRSET\r\nBDAT 6 LAST\r\nQUIT\r\nNOOP\r\n")
    heard = [await client.hear() for _ in range(4)]
    assert [reply[:3] for reply in heard] == ["250", "250", "503", "250"]
    assert world.spool.messages == []


async def test_without_room_a_chunk_is_taken_and_thrown_away(
    autojump_clock: MockClock, world: World
) -> None:
    client = await world.greeted()
    await client.dialogue(ENVELOPE)
    world.spool.accepts_mail = False
    await client.raw(b"BDAT 6\r\nQUIT\r\nBDAT 6 LAST\r\nQUIT\r\nNOOP\r\n")
    heard = [await client.hear() for _ in range(3)]
    assert heard[0].startswith("452 4.3.1")
    assert [reply[:3] for reply in heard[1:]] == ["503", "250"]
    (refused,) = world.told(RecipientRefused)
    assert refused.command == "bdat"


PROXY = (ip_network("192.0.2.0/28"),)


async def test_a_proxy_says_for_whom_it_speaks(autojump_clock: MockClock, world: World) -> None:
    world.listener = ListenerSettings("test", xclient_from=PROXY)
    world.set(relay_from=(ip_network("198.51.100.0/24"),))
    client = await world.greeted()
    await client.dialogue(
        """
        C: MAIL FROM:<a@example.com>
        S: 250 2.1.0
        C: XCLIENT ADDR=198.51.100.7
        S: 503 5.5.1
        C: RSET
        S: 250 2.0.0
        C: XCLIENT ADDR=198.51.100.7 PORT=77 HELO=real.example PROTO=SMTP NAME=[UNAVAILABLE]
        S: 220 mx.example.org
        C: MAIL FROM:<a@example.com>
        S: 503 5.5.1
        C: EHLO proxy.example
        S: 250
        """
    )
    assert (await client.send_mail()).startswith("250 ")
    (message,) = world.spool.messages
    assert message.prepend.startswith(
        b"Received: from real.example ([198.51.100.7])\r\n"
        b"\tby mx.example.org (edgerelay) with SMTP "
    )
    assert message.client.trusted
    await client.dialogue("C: QUIT\nS: 221 2.0.0")
    (ended,) = world.told(SessionEnded)
    assert (ended.client, ended.helo) == ("198.51.100.7:77", "real.example")


async def test_whom_a_proxy_speaks_for_loses_the_proxys_rights(
    autojump_clock: MockClock, world: World
) -> None:
    world.listener = ListenerSettings("test", xclient_from=PROXY)
    world.set(relay_from=PROXY)
    client = await world.greeted()
    await client.raw(b"XCLIENT ADDR=IPV6:2001:db8::7\r\nEHLO proxy.example\r\n")
    assert (await client.hear()).startswith("220 mx.example.org")
    assert (await client.hear()).startswith("250")
    assert (await client.send_mail()).startswith("250 ")
    (message,) = world.spool.messages
    assert (message.client.address, message.client.trusted) == ("2001:db8::7", False)


async def test_whom_a_proxy_speaks_for_is_counted(autojump_clock: MockClock, world: World) -> None:
    world.listener = ListenerSettings("test", xclient_from=PROXY)
    world.set(connections_per_client=1)
    first, second, third = [await world.greeted() for _ in range(3)]
    await first.dialogue("C: XCLIENT ADDR=198.51.100.7\nS: 220")
    await second.dialogue("C: XCLIENT ADDR=198.51.100.8\nS: 220")
    await third.dialogue("C: XCLIENT ADDR=198.51.100.7\nS: 421 4.7.0")
    assert await third.is_hung_up()


@pytest.mark.parametrize("address", ["198.51.100.7", "[UNAVAILABLE]"])
async def test_whom_a_proxy_spoke_for_could_speak_for_anybody(
    autojump_clock: MockClock, world: World, address: str
) -> None:
    """Some proxies hand on all that their client says after XCLIENT."""
    world.listener = ListenerSettings("test", xclient_from=PROXY)
    world.set(relay_from=PROXY)
    client = await world.greeted()
    await client.dialogue(
        f"""
        C: XCLIENT ADDR={address}
        S: 220
        C: XCLIENT ADDR=192.0.2.1
        S: 502 5.5.1
        C: EHLO client.example
        S: (?!(?s:.*)XCLIENT)250
        """
    )
    assert (await client.send_mail()).startswith("250 ")
    assert not world.spool.messages[0].client.trusted


async def test_whom_a_proxy_speaks_for_had_the_rest_of_its_proxys_time(
    autojump_clock: MockClock, world: World
) -> None:
    world.listener = ListenerSettings("test", xclient_from=PROXY)
    client = await world.greeted()
    await trio.sleep(200)
    await client.dialogue("C: XCLIENT ADDR=198.51.100.7\nS: 220")
    await trio.sleep(200)
    await client.dialogue("C: EHLO client.example\nS: 250")


async def test_a_proxy_may_speak_for_another_proxy(
    autojump_clock: MockClock, world: World
) -> None:
    world.listener = ListenerSettings("test", xclient_from=PROXY)
    client = await world.greeted()
    await client.dialogue(
        "C: XCLIENT ADDR=192.0.2.2\nS: 220\nC: XCLIENT ADDR=198.51.100.7\nS: 220"
    )


async def test_who_speaks_before_the_greeting_is_over_has_no_recipients(
    autojump_clock: MockClock, world: World
) -> None:
    world.listener = ListenerSettings("test", greet_delay=4.0)
    client = world.connect()
    await client.raw(b"EHLO x\r\nMAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\n")
    greeting = await client.hear()
    assert greeting.startswith("220-mx.example.org wait")
    assert greeting.endswith("\n220 mx.example.org ESMTP edgerelay")
    assert (await client.hear()).startswith("250")
    assert (await client.hear()).startswith("250")
    assert (await client.hear()).startswith("550 5.5.1 You spoke before our greeting was over")
    assert world.told(RecipientRefused)[0].command == "rcpt"


async def test_who_waits_for_the_end_of_the_greeting_is_served(
    autojump_clock: MockClock, world: World
) -> None:
    world.listener = ListenerSettings("test", greet_delay=4.0)
    started = trio.current_time()
    client = world.connect()
    assert (await client.hear()).startswith("220-mx.example.org wait")
    assert 4 <= trio.current_time() - started <= 6
    await client.say("EHLO client.example")
    assert (await client.hear()).startswith("250-mx.example.org")
    assert (await client.send_mail()).startswith("250 ")


async def test_our_own_house_does_not_wait(autojump_clock: MockClock, world: World) -> None:
    world.listener = ListenerSettings("test", greet_delay=4.0)
    world.set(relay_from=PROXY)
    started = trio.current_time()
    await world.greeted()
    assert trio.current_time() == started


async def test_guessing_at_recipients_takes_longer_each_time(
    autojump_clock: MockClock, world: World
) -> None:
    client = await world.greeted()
    await client.dialogue("C: MAIL FROM:<a@example.com>\nS: 250")
    took = []
    for number in range(15):
        started = trio.current_time()
        await client.dialogue(f"C: RCPT TO:<{number}@elsewhere.example>\nS: 550")
        took.append(trio.current_time() - started)
    assert took == [0.0] * 10 + [1.0, 2.0, 4.0, 4.0, 4.0]


async def test_nothing_said_inside_a_transaction_keeps_a_session_for_ever(
    autojump_clock: MockClock, world: World
) -> None:
    world.set(session_timeout=600.0, command_timeout=300.0)
    client = await world.greeted()
    await client.dialogue("C: MAIL FROM:<a@example.com>\nS: 250")
    for _ in range(10):
        await trio.sleep(100)
        await client.dialogue("C: NOOP\nS: 250")
    await trio.sleep(199)
    await client.raw(b"NOOP\r\n")
    assert (await client.hear()).startswith("250")
    await trio.sleep(2)
    await client.raw(b"NOOP\r\n")
    await client.hear()
    assert (await client.hear()).startswith("421 4.4.2 mx.example.org This session has lasted")
    assert await client.is_hung_up()


def impatient(world: World, **changes: Any) -> None:
    world.listener = ListenerSettings("test", early_pipelining="refuse", **changes)


ENVELOPE_OF_ONE = b"MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\n"


@pytest.mark.parametrize("hello", [b"EHLO c.example\r\n", b"HELO c.example\r\n"])
async def test_who_goes_on_behind_its_hello_gets_no_recipient_accepted(
    autojump_clock: MockClock, world: World, hello: bytes
) -> None:
    impatient(world)
    client = world.connect()
    assert (await client.hear()).startswith("220")
    await client.raw(hello + ENVELOPE_OF_ONE + b"QUIT\r\n")
    assert [(await client.hear())[:9] for _ in range(4)][1:] == [
        "250 2.1.0",
        "550 5.5.1",
        "221 2.0.0",
    ]


async def test_whom_nobody_offered_pipelining_must_wait(
    autojump_clock: MockClock, world: World
) -> None:
    impatient(world)
    client = world.connect()
    await client.hear()
    await client.dialogue("C: HELO c.example\nS: 250")
    await client.raw(ENVELOPE_OF_ONE)
    assert (await client.hear()).startswith("250")
    assert (await client.hear()).startswith("550 5.5.1")


async def test_content_behind_data_is_taken_in_and_refused_as_a_whole(
    autojump_clock: MockClock, world: World
) -> None:
    """If DATA were refused, what is meant as content would be obeyed as commands."""
    impatient(world)
    client = await world.greeted()
    await client.raw(ENVELOPE_OF_ONE + b"DATA\r\nMAIL FROM:<x@example.com>\r\n.\r\nNOOP\r\n")
    heard = [(await client.hear())[:9] for _ in range(5)]
    assert heard == ["250 2.1.0", "250 2.1.5", "354 End d", "550 5.5.1", "250 2.0.0"]
    assert not world.spool.messages


async def test_who_pipelines_as_it_may_is_served(autojump_clock: MockClock, world: World) -> None:
    impatient(world)
    client = await world.greeted()
    await client.raw(ENVELOPE_OF_ONE + b"DATA\r\n")
    assert [(await client.hear())[:3] for _ in range(3)] == ["250", "250", "354"]
    await client.raw(b"Subject: x\r\n\r\nhello\r\n.\r\nRSET\r\n" + ENVELOPE_OF_ONE)
    assert [(await client.hear())[:3] for _ in range(4)] == ["250"] * 4


async def test_haste_is_accepted_where_nothing_else_is_said(
    autojump_clock: MockClock, world: World
) -> None:
    client = world.connect()
    await client.hear()
    await client.raw(b"HELO c.example\r\n" + ENVELOPE_OF_ONE)
    assert [(await client.hear())[:3] for _ in range(3)] == ["250"] * 3


async def test_a_client_of_our_own_may_be_hasty(autojump_clock: MockClock, world: World) -> None:
    impatient(world)
    world.set(relay_from=(ip_network("192.0.2.0/24"),))
    client = world.connect()
    await client.hear()
    await client.raw(b"HELO c.example\r\n" + ENVELOPE_OF_ONE)
    assert [(await client.hear())[:3] for _ in range(3)] == ["250"] * 3
