"""Conversations with the server's half, as calls."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from edgerelay.mail.address import ForwardPath, Mailbox, ReversePath
from edgerelay.mail.envelope import Body, Envelope, Notify, Recipient, Ret
from edgerelay.mail.reply import Reply
from edgerelay.smtp.errors import LocalProtocolError
from edgerelay.smtp.events import (
    DataChunk,
    DataProblem,
    EndOfData,
    Event,
    Expand,
    Hello,
    Help,
    Mail,
    Noop,
    Quit,
    Rcpt,
    Refused,
    Reset,
    StartData,
    StartTls,
    Verify,
)
from edgerelay.smtp.extensions import Extensions
from edgerelay.smtp.server import ServerProtocol
from edgerelay.smtp.states import State

POSTMASTER = Mailbox("postmaster", "here.example")
OK = Reply(250, "2.0.0", "OK")
NO = Reply(550, "5.1.1", "No")
GO_AHEAD = Reply(354, "", "Go ahead")
BYE = Reply(221, "2.0.0", "Bye")


def new(*, tls_required: bool = False, size: int = 1000) -> ServerProtocol:
    return ServerProtocol(
        extensions=Extensions(size, starttls=True),
        postmaster=POSTMASTER,
        tls_required=tls_required,
    )


def agree(event: Event) -> Reply:
    """The answer of a server that takes everything."""
    match event:
        case Refused():
            return event.reply
        case StartData():
            return GO_AHEAD
        case Quit():
            return BYE
        case StartTls():
            return Reply(220, "2.0.0", "Go ahead")
        case _:
            return OK


def hear(
    protocol: ServerProtocol, octets: bytes, answer: Callable[[Event], Reply] = agree
) -> list[Event]:
    protocol.receive_data(octets)
    events: list[Event] = []
    while (event := protocol.next_event()) is not None:
        events.append(event)
        if not isinstance(event, DataChunk):
            protocol.send(answer(event))
    return events


def state(protocol: ServerProtocol) -> State:
    return protocol.state  # by a call, which no type checker takes for constant


def drained(protocol: ServerProtocol) -> bool:
    return protocol.is_drained


def hear_one(protocol: ServerProtocol, octets: bytes) -> Event:
    [event] = hear(protocol, octets)
    return event


def refusal(protocol: ServerProtocol, octets: bytes) -> str:
    event = hear_one(protocol, octets)
    assert isinstance(event, Refused)
    assert not event.fatal
    return f"{event.reply.code} {event.reply.enhanced}"


def greeted(
    octets: bytes = b"EHLO c.example\r\n", *, tls_required: bool = False, size: int = 1000
) -> ServerProtocol:
    protocol = new(tls_required=tls_required, size=size)
    assert all(not isinstance(event, Refused) for event in hear(protocol, octets))
    return protocol


IN_RCPT = b"EHLO c.example\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\n"


A = ReversePath(Mailbox("a", "b.example"))
C = ForwardPath(Mailbox("c", "d.example"))


def test_a_whole_message() -> None:
    protocol = new()
    assert hear(
        protocol,
        b"EHLO c.example\r\n"
        b"MAIL FROM:<a@b.example> SIZE=5 BODY=8BITMIME RET=HDRS ENVID=x+2By\r\n"
        b"RCPT TO:<c@d.example> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;C@d.example\r\n"
        b"RCPT TO:<Postmaster>\r\n"
        b"DATA\r\nhi\r\n..\r\n.\r\nQUIT\r\n",
    ) == [
        Hello("EHLO", "c.example"),
        Mail(Envelope(A, body=Body.EIGHT_BIT_MIME, ret=Ret.HDRS, envid="x+2By"), 5),
        Rcpt(Recipient(C, Notify.SUCCESS | Notify.DELAY, "rfc822;C@d.example")),
        Rcpt(Recipient(ForwardPath(POSTMASTER))),
        StartData(),
        DataChunk(b"hi\r\n.\r\n"),
        EndOfData(None, 7),
        Quit(),
    ]
    assert state(protocol) is State.CLOSED


def test_the_replies_of_a_group_come_in_order() -> None:
    """RFC 2920 section 3.2: and each is given before the next command is looked at."""
    protocol = new()
    protocol.receive_data(b"EHLO c.example\r\nNOOP\r\nRSET\r\n")
    assert protocol.next_event() == Hello("EHLO", "c.example")
    with pytest.raises(LocalProtocolError):
        protocol.next_event()
    assert protocol.send(protocol.ehlo_reply("mx.example")).startswith(b"250-mx.example\r\n")
    assert protocol.next_event() == Noop()
    assert protocol.send(OK) == b"250 2.0.0 OK\r\n"
    assert protocol.next_event() == Reset()


@pytest.mark.parametrize(
    ("line", "event"),
    [
        (b"noop", Noop()),
        (b"NOOP ", Noop()),
        (b"NOOP\t", Noop()),
        (b"NOOP whatever you say", Noop()),
        (b"RSET  ", Reset()),
        (b"VRFY someone", Verify("someone")),
        ("VRFY jürgen smtputf8".encode(), Verify("jürgen smtputf8")),
        (b"EXPN a list", Expand("a list")),
        (b"HELP", Help("")),
        (b"HELP mail", Help("mail")),
        (b"QUIT", Quit()),
        (b"helo c.example", Hello("HELO", "c.example")),
        (b"Ehlo [192.0.2.1]", Hello("EHLO", "[192.0.2.1]")),
    ],
)
def test_commands_that_need_no_ehlo(line: bytes, event: Event) -> None:
    assert hear_one(new(), line + b"\r\n") == event


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        (b"", "500 5.5.1"),
        (b" NOOP", "500 5.5.1"),
        (b"MAILFROM:<a@b.example>", "500 5.5.1"),
        (b"BLURDYBLOOP", "500 5.5.1"),
        (b"END_OF_DATA", "500 5.5.1"),
        (b"TLS_STARTED", "500 5.5.1"),
        (b"AUTH PLAIN", "502 5.5.1"),
        (b"XCLIENT NAME=evil", "502 5.5.1"),
        (b"RSET now", "501 5.5.4"),
        (b"QUIT now", "501 5.5.4"),
        (b"STARTTLS now", "501 5.5.4"),
        (b"VRFY", "501 5.5.4"),
        ("VRFY jürgen".encode(), "501 5.5.2"),
        (b"EXPN", "501 5.5.4"),
        (b"EHLO", "501 5.5.2"),
        (b"HELO a b", "501 5.5.2"),
        (b"MAIL", "501 5.5.2"),
        (b"MAIL FROM:", "501 5.1.7"),
        (b"MAIL FROM:<>SIZE=1", "501 5.5.4"),
        (b"NOOP\x00", "500 5.5.2"),
        (b"MAIL FROM:<a\x00@b.example>", "500 5.5.2"),
        (b"MAIL\tFROM:<a@b.example>", "500 5.5.2"),
        (b"MAIL FROM:<a\xc0\xaf@b.example> SMTPUTF8", "500 5.5.2"),
        (b"MAIL FROM:<a\xed\xa0\x80@b.example> SMTPUTF8", "500 5.5.2"),
        ("MAIL FROM:<\u2028@b.example> SMTPUTF8".encode(), "500 5.5.2"),
        ("NOOP ü".encode(), "501 5.5.2"),
        (b"\xff\xfe\xfd \x80", "500 5.5.2"),
        (b"MAIL FROM:<a@b.example> SIZE=1001", "552 5.3.4"),
        ("MAIL FROM:<ü@b.example>".encode(), "553 5.6.7"),
        ("MAIL FROM:<a@ü.example>".encode(), "553 5.6.7"),
        (b"RCPT TO:<c@d.example>", "503 5.5.1"),
        (b"DATA", "503 5.5.1"),
    ],
)
def test_what_is_refused_after_ehlo(line: bytes, reply: str) -> None:
    protocol = greeted()
    assert refusal(protocol, line + b"\r\n") == reply
    assert state(protocol) is State.READY
    assert hear_one(protocol, b"MAIL FROM:<a@b.example>\r\n") == Mail(Envelope(A), None)


@pytest.mark.parametrize(
    "line", [b"MAIL FROM:<a@b.example>", b"RCPT TO:<c@d.example>", b"DATA", b"STARTTLS"]
)
def test_what_needs_an_ehlo(line: bytes) -> None:
    assert refusal(new(), line + b"\r\n") == "503 5.5.1"


def test_mail_does_not_nest() -> None:
    """RFC 5321 section 4.1.4."""
    protocol = greeted(IN_RCPT)
    assert refusal(protocol, b"MAIL FROM:<x@b.example>\r\n") == "503 5.5.1"
    assert state(protocol) is State.RCPT


def test_a_refused_command_leaves_the_session_where_it_was() -> None:
    protocol = greeted()
    hear(protocol, b"MAIL FROM:<a@b.example>\r\n", lambda _: NO)
    assert state(protocol) is State.READY
    hear(protocol, b"MAIL FROM:<a@b.example>\r\n")
    hear(protocol, b"RCPT TO:<c@d.example>\r\n", lambda _: NO)
    assert state(protocol) is State.MAIL


def test_data_without_a_recipient() -> None:
    """RFC 5321 section 3.3: 503, or 554 if there were some and all were refused."""
    protocol = greeted(b"EHLO c.example\r\nMAIL FROM:<a@b.example>\r\n")
    assert refusal(protocol, b"DATA\r\n") == "503 5.5.1"
    hear(protocol, b"RCPT TO:<c@d.example>\r\n", lambda _: NO)
    event = hear_one(protocol, b"DATA\r\n")
    assert isinstance(event, Refused)
    assert str(event.reply) == "554 5.5.1 No valid recipients"
    hear(protocol, b"RSET\r\nMAIL FROM:<a@b.example>\r\n")
    assert refusal(protocol, b"DATA\r\n") == "503 5.5.1"
    assert refusal(protocol, b"RCPT TO:<c>\r\n") == "501 5.1.3"
    assert refusal(protocol, b"DATA\r\n") == "554 5.5.1"


def test_a_refused_data_opens_nothing() -> None:
    protocol = greeted(IN_RCPT)
    hear(protocol, b"DATA\r\n", lambda _: Reply(452, "4.3.1", "Full"))
    assert state(protocol) is State.RCPT
    assert hear_one(protocol, b"NOOP\r\n") == Noop()


@pytest.mark.parametrize("reply", [OK, NO, Reply(451, "4.3.0", "Later")])
def test_the_end_of_data_ends_the_transaction(reply: Reply) -> None:
    protocol = greeted(IN_RCPT)
    hear(protocol, b"DATA\r\n")
    hear(protocol, b".\r\n", lambda _: reply)
    assert state(protocol) is State.READY
    assert refusal(protocol, b"RCPT TO:<c@d.example>\r\n") == "503 5.5.1"


def test_content_comes_in_the_pieces_it_came_in() -> None:
    protocol = greeted(IN_RCPT)
    hear(protocol, b"DATA\r\n")
    assert hear(protocol, b"one") == [DataChunk(b"one")]
    assert hear(protocol, b" two\r\n") == [DataChunk(b" two")]
    assert hear(protocol, b".") == []
    assert hear(protocol, b"\r\nNOOP\r\n") == [DataChunk(b"\r\n"), EndOfData(None, 9), Noop()]


def test_a_message_with_a_problem_is_drained() -> None:
    protocol = greeted(IN_RCPT)
    hear(protocol, b"DATA\r\n")
    assert hear(protocol, b"x" * 1001) == []
    assert hear(protocol, b"y" * 100_000) == []
    assert hear(protocol, b"\r\n.\r\nNOOP\r\n") == [
        EndOfData(DataProblem.TOO_BIG, 101_003),
        Noop(),
    ]


def test_smuggled_commands_are_content() -> None:
    protocol = greeted(IN_RCPT)
    hear(protocol, b"DATA\r\n")
    events = hear(protocol, b"x\n.\r\nMAIL FROM:<s@s.example>\r\n.\r\n")
    assert events == [EndOfData(DataProblem.BARE_NEWLINE, 30)]


def test_no_limit_is_no_limit() -> None:
    protocol = greeted(size=0)
    assert isinstance(hear_one(protocol, b"MAIL FROM:<> SIZE=" + b"9" * 20 + b"\r\n"), Mail)


def test_ehlo_ends_a_transaction() -> None:
    protocol = greeted(IN_RCPT)
    hear(protocol, b"EHLO c.example\r\n")
    assert state(protocol) is State.READY


def test_after_helo_there_are_no_parameters() -> None:
    protocol = greeted(b"HELO c.example\r\n")
    assert refusal(protocol, b"MAIL FROM:<a@b.example> SIZE=1\r\n") == "555 5.5.4"
    assert hear_one(protocol, b"MAIL FROM:<a@b.example>\r\n") == Mail(Envelope(A), None)
    assert refusal(protocol, b"RCPT TO:<c@d.example> NOTIFY=NEVER\r\n") == "555 5.5.4"


def test_utf8_addresses_come_with_smtputf8() -> None:
    """RFC 6531 section 3.4."""
    protocol = greeted()
    assert hear_one(protocol, "MAIL FROM:<ü@b.example> SMTPUTF8\r\n".encode()) == Mail(
        Envelope(ReversePath(Mailbox("ü", "b.example")), smtputf8=True), None
    )
    assert hear_one(protocol, "RCPT TO:<ö@bücher.example>\r\n".encode()) == Rcpt(
        Recipient(ForwardPath(Mailbox("ö", "bücher.example")))
    )
    hear(protocol, b"RSET\r\nMAIL FROM:<a@b.example>\r\n")
    assert refusal(protocol, "RCPT TO:<ö@b.example>\r\n".encode()) == "553 5.6.7"


def test_tls() -> None:
    """RFC 3207 section 4.2: afterwards nothing of before is known."""
    protocol = greeted()
    assert "STARTTLS" in protocol.ehlo_reply("mx.example").more
    assert hear(protocol, b"STARTTLS\r\n") == [StartTls()]
    assert state(protocol) is State.HANDSHAKE
    assert drained(protocol)
    protocol.tls_started()
    assert state(protocol) is State.CONNECTED
    assert "STARTTLS" not in protocol.ehlo_reply("mx.example").more
    assert refusal(protocol, b"MAIL FROM:<a@b.example>\r\n") == "503 5.5.1"
    hear(protocol, b"EHLO c.example\r\n")
    assert refusal(protocol, b"STARTTLS\r\n") == "502 5.5.1"


def test_a_command_behind_starttls_in_the_clear_ends_the_session() -> None:
    """CVE-2011-0411: it would be taken for one that came through TLS."""
    protocol = greeted()
    [event] = hear(protocol, b"STARTTLS\r\nMAIL FROM:<evil@b.example>\r\n")
    assert isinstance(event, Refused)
    assert event.fatal
    assert state(protocol) is State.CLOSED
    assert hear(protocol, b"NOOP\r\n") == []


def test_a_command_after_the_220_is_seen_and_forgotten() -> None:
    protocol = greeted()
    hear(protocol, b"STARTTLS\r\n")
    assert hear(protocol, b"MAIL FROM:<evil@b.example>\r\n") == []
    assert not drained(protocol)
    protocol.tls_started()
    assert drained(protocol)
    assert hear(protocol, b"") == []


def test_starttls_may_be_refused() -> None:
    protocol = greeted()
    hear(protocol, b"STARTTLS\r\n", lambda _: Reply(454, "4.7.0", "Not now"))
    assert state(protocol) is State.READY
    with pytest.raises(LocalProtocolError):
        protocol.tls_started()


def test_starttls_has_no_place_in_a_transaction() -> None:
    assert refusal(greeted(IN_RCPT), b"STARTTLS\r\n") == "503 5.5.1"


@pytest.mark.parametrize(
    "line",
    [b"HELO c.example", b"MAIL FROM:<a@b.example>", b"RSET", b"VRFY a", b"HELP", b"DATA"],
)
def test_where_tls_is_required_little_may_come_before_it(line: bytes) -> None:
    """RFC 3207 section 4."""
    protocol = greeted(tls_required=True)
    assert refusal(protocol, line + b"\r\n") == "530 5.7.0"
    assert hear(protocol, b"NOOP\r\nSTARTTLS\r\n") == [Noop(), StartTls()]
    protocol.tls_started()
    hear(protocol, b"EHLO c.example\r\n")
    assert hear_one(protocol, b"MAIL FROM:<a@b.example>\r\n") == Mail(Envelope(A), None)


@pytest.mark.parametrize(
    "octets",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"POST / HTTP/1.1\r\n\r\nMAIL FROM:<a@b.example>\r\n",
        b"CONNECT mx.example:25 HTTP/1.1\r\n",
        b"\x16\x03\x01\x02\x00\x01",
    ],
)
def test_another_protocol_is_shown_the_door(octets: bytes) -> None:
    for pieces in ([octets], [bytes([octet]) for octet in octets]):
        protocol = new()
        [event] = [event for piece in pieces for event in hear(protocol, piece)]
        assert isinstance(event, Refused)
        assert event.fatal
        assert state(protocol) is State.CLOSED


def test_421_ends_the_session_at_any_time() -> None:
    """RFC 5321 section 3.8."""
    goodbye = Reply(421, "4.3.2", "Closing")
    for octets in (b"", b"EHLO c.example\r\n", IN_RCPT, IN_RCPT + b"DATA\r\nx"):
        protocol = new()
        hear(protocol, octets)
        assert protocol.send(goodbye) == b"421 4.3.2 Closing\r\n"
        assert state(protocol) is State.CLOSED
        assert hear(protocol, b".\r\nNOOP\r\n") == []
    protocol = new()
    hear(protocol, b"NOOP\r\n", lambda _: goodbye)
    assert state(protocol) is State.CLOSED


def test_a_reply_that_has_no_place_is_our_own_mistake() -> None:
    protocol = new()
    protocol.send(Reply(220, "", "mx.example ESMTP"))
    with pytest.raises(LocalProtocolError):
        protocol.send(OK)
    with pytest.raises(LocalProtocolError):
        hear(protocol, b"NOOP\r\n", lambda _: GO_AHEAD)
    protocol = greeted(IN_RCPT)
    with pytest.raises(LocalProtocolError):
        hear(protocol, b"DATA\r\n", lambda _: OK)


def test_the_end_of_the_stream_completes_nothing() -> None:
    protocol = greeted(IN_RCPT)
    assert hear(protocol, b"DATA\r\nx\r\n.\r") == [StartData(), DataChunk(b"x")]
    assert hear(protocol, b"") == []
    protocol = greeted()
    assert hear(protocol, b"QUIT") == []
    assert hear(protocol, b"") == []


def test_a_refusal_never_repeats_the_client() -> None:
    event = hear_one(greeted(), b"MAIL FROM:<\x1b[31mevil>\r\n")
    assert isinstance(event, Refused)
    assert "evil" not in str(event.reply)
    assert event.line == "MAIL FROM:<\\x1b[31mevil>"


def with_two_recipients(parameter: str) -> ServerProtocol:
    protocol = ServerProtocol(extensions=Extensions(1000, prdr=True), postmaster=POSTMASTER)
    protocol.receive_data(
        b"EHLO c.example\r\nMAIL FROM:<a@b.example>" + parameter.encode() + b"\r\n"
        b"RCPT TO:<c@d.example>\r\nRCPT TO:<e@d.example>\r\nDATA\r\nx\r\n.\r\n"
    )
    while not isinstance(event := protocol.next_event(), EndOfData):
        if not isinstance(event, DataChunk):
            assert event is not None
            protocol.send(agree(event))
    return protocol


def test_with_prdr_each_recipient_has_its_reply_and_then_all_have_one() -> None:
    protocol = with_two_recipients(" PRDR")
    assert protocol.send_for_each([OK, NO], OK).splitlines() == [
        b"353 A reply for each recipient follows, and one for all",
        b"250 2.0.0 OK",
        b"550 5.1.1 No",
        b"250 2.0.0 OK",
    ]
    assert state(protocol) is State.READY


def test_who_did_not_ask_for_prdr_takes_one_reply() -> None:
    protocol = with_two_recipients("")
    with pytest.raises(LocalProtocolError):
        protocol.send_for_each([OK, NO], OK)
    assert protocol.send(OK) == b"250 2.0.0 OK\r\n"


def test_replies_for_each_end_with_a_negative_one_only_if_all_are() -> None:
    """It would take back what was said to the others."""
    with pytest.raises(LocalProtocolError):
        with_two_recipients(" PRDR").send_for_each([OK, NO], NO)
    protocol = with_two_recipients(" PRDR")
    later = Reply(451, "4.7.1", "Later")
    said = protocol.send_for_each([NO, later], later).splitlines()
    assert [line[:3] for line in said] == [b"353", b"550", b"451", b"451"]
    assert state(protocol) is State.READY


def test_prdr_that_is_not_offered_is_refused() -> None:
    protocol = new()
    protocol.receive_data(b"EHLO c.example\r\nMAIL FROM:<a@b.example> PRDR\r\n")
    protocol.next_event()
    protocol.send(OK)
    event = protocol.next_event()
    assert isinstance(event, Refused)
    assert event.reply.code == 555
