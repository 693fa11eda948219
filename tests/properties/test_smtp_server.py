"""Whatever a client sends: bounded, answered in order, and never an exception."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from edgerelay.mail.address import Mailbox
from edgerelay.mail.reply import Reply
from edgerelay.smtp.events import DataChunk, EndOfData, Event, Quit, Refused, StartData, StartTls
from edgerelay.smtp.extensions import Extensions
from edgerelay.smtp.server import ServerProtocol
from edgerelay.smtp.states import State

COMMANDS = st.sampled_from(
    [
        b"EHLO c.example",
        b"HELO c.example",
        b"MAIL FROM:<a@b.example>",
        b"MAIL FROM:<a@b.example> SIZE=5 BODY=8BITMIME SMTPUTF8",
        "MAIL FROM:<ü@bücher.example> SMTPUTF8".encode(),
        b"MAIL FROM:<> RET=HDRS ENVID=a+2Bb",
        b"RCPT TO:<c@d.example>",
        b"RCPT TO:<postmaster> NOTIFY=NEVER",
        "RCPT TO:<ö@d.example> ORCPT=utf-8;ö@d.example".encode(),
        b"DATA",
        b"RSET",
        b"NOOP x",
        b"VRFY x",
        b"EXPN x",
        b"HELP",
        b"AUTH PLAIN",
        b"",
        b".",
        b"..",
    ]
)
NOISE = st.one_of(st.binary(max_size=30), st.sampled_from([b"\x00", b"\n", b"\r", b"x" * 3000]))
LINES = st.one_of(COMMANDS, st.tuples(COMMANDS, NOISE).map(b"".join), NOISE)
STREAM = st.lists(LINES, max_size=25).map(lambda lines: b"".join(x + b"\r\n" for x in lines))
PREFIXES = st.sampled_from(
    [
        b"",
        b"EHLO c.example\r\n",
        b"EHLO c.example\r\nMAIL FROM:<a@b.example>\r\n",
        b"EHLO c.example\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\n",
        b"EHLO c.example\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nDATA\r\n",
    ]
)
CUTS = st.lists(st.integers(1, 40), max_size=60)


def new() -> ServerProtocol:
    return ServerProtocol(
        extensions=Extensions(1000, starttls=True), postmaster=Mailbox("postmaster", "us.example")
    )


def answer(event: Event, yes: bool) -> Reply:
    match event:
        case Refused():
            return event.reply
        case Quit():
            return Reply(221, "2.0.0", "Bye")
        case StartData() if yes:
            return Reply(354, "", "Go ahead")
        case EndOfData() if event.problem is not None:
            return Reply(550, "5.6.11", "No")
        case _:
            return Reply(250, "2.0.0", "OK") if yes else Reply(451, "4.3.0", "Later")


def converse(pieces: list[bytes], yes: list[bool]) -> tuple[list[object], list[bytes]]:
    """What happened, with chunks of content joined, and what was answered."""
    protocol = new()
    happened: list[object] = []
    said: list[bytes] = []
    verdicts = iter(yes)
    for piece in pieces:
        protocol.receive_data(piece)
        while (event := protocol.next_event()) is not None:
            if isinstance(event, DataChunk):
                assert event.data
                continue
            happened.append(event)
            said.append(protocol.send(answer(event, next(verdicts, True))))
            if isinstance(event, Refused):
                assert event.line.isprintable()
                assert len(event.line) <= 100
    assert protocol.next_event() is None
    return happened, said


def cut(data: bytes, sizes: list[int]) -> list[bytes]:
    pieces = []
    for size in sizes:
        pieces.append(data[:size])
        data = data[size:]
    return [*pieces, data]


@given(PREFIXES, STREAM, CUTS, st.lists(st.booleans(), max_size=20))
def test_segments_do_not_matter(
    prefix: bytes, stream: bytes, sizes: list[int], yes: list[bool]
) -> None:
    data = prefix + stream
    verdicts = [True] * prefix.count(b"\r\n") + yes
    assert converse(cut(data, sizes), verdicts) == converse([data], verdicts)


@given(PREFIXES, st.binary(max_size=300), st.lists(st.booleans(), max_size=20))
def test_no_octets_raise(prefix: bytes, noise: bytes, yes: list[bool]) -> None:
    converse([prefix + noise], yes)


@given(STREAM)
def test_every_reply_is_well_formed_and_ours(stream: bytes) -> None:
    marked = stream.replace(b"example", b"exAmple")
    for reply in converse([b"EHLO c.example\r\n" + marked], [])[1]:
        assert reply.endswith(b"\r\n")
        assert all(0x20 <= octet <= 0x7E for octet in reply[:-2])
        assert b"exAmple" not in reply


@given(st.lists(st.one_of(COMMANDS.filter(lambda c: c != b"DATA"), NOISE), max_size=30))
def test_every_line_gets_one_reply(lines: list[bytes]) -> None:
    """While no mail data is due and the session is open."""
    lines = [line for line in lines if line[:1] != b"\x16" and b"\r\n" not in line]
    lines = [line for line in lines if not line.endswith(b"\r")]  # with its CRLF, CR CRLF: one too
    _, said = converse([b"".join(line + b"\r\n" for line in [b"EHLO c.example", *lines])], [])
    took_us_for_a_web_server = said[-1] == b"554 5.5.1 This is an SMTP server\r\n"
    assert len(said) == len(lines) + 1 or took_us_for_a_web_server


@given(st.lists(st.binary(min_size=1, max_size=5000), max_size=20), st.booleans())
@settings(max_examples=50)
def test_memory_is_bounded(pieces: list[bytes], in_data: bool) -> None:
    protocol = new()
    prefix = b"EHLO c.example\r\nMAIL FROM:<>\r\nRCPT TO:<c@d.example>\r\nDATA\r\n"
    for piece in [prefix if in_data else b"", *(p.replace(b"\r", b"") for p in pieces)]:
        protocol.receive_data(piece)
        while (event := protocol.next_event()) is not None:
            if not isinstance(event, DataChunk):
                protocol.send(answer(event, yes=True))
        assert len(protocol._lines._buffer) <= 2048


@given(PREFIXES, STREAM)
def test_tls_forgets_everything(prefix: bytes, stream: bytes) -> None:
    protocol = new()
    protocol.receive_data(prefix + stream + b"\r\n.\r\nRSET\r\nEHLO c.example\r\nSTARTTLS\r\n")
    while (event := protocol.next_event()) is not None:
        if isinstance(event, StartTls):
            protocol.send(Reply(220, "2.0.0", "Go ahead"))
        elif not isinstance(event, DataChunk):
            protocol.send(answer(event, yes=True))
    if protocol.state is State.HANDSHAKE:
        protocol.receive_data(stream)
        protocol.tls_started()
        assert protocol.next_event() is None
        protocol.receive_data(b"MAIL FROM:<a@b.example>\r\n")
        event = protocol.next_event()
        assert isinstance(event, Refused)
        assert event.reply.code == 503
