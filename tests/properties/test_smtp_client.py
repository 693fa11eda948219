"""Whatever a server sends: replies, or one declared error; nothing unprintable."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edgerelay.mail.address import ForwardPath, Mailbox, ReversePath
from edgerelay.mail.envelope import Body, Envelope, Notify, Recipient, Ret
from edgerelay.mail.reply import Reply
from edgerelay.mail.xtext import encode_xtext
from edgerelay.smtp.client import ClientProtocol
from edgerelay.smtp.errors import PeerProtocolError
from edgerelay.smtp.events import Event, Mail, Rcpt
from edgerelay.smtp.extensions import Extensions
from edgerelay.smtp.server import ServerProtocol

LINES = st.one_of(
    st.sampled_from(
        [b"250 2.1.0 OK", b"250-x", b"250 5.1.1 x", b"354 go", b"550", b"421 bye", b"150 x"]
    ),
    st.binary(max_size=20),
    st.tuples(st.sampled_from([b"250 ", b"250-", b"550 5.7.1 "]), st.binary(max_size=30)).map(
        b"".join
    ),
)
STREAM = st.lists(LINES, max_size=20).map(lambda lines: b"".join(x + b"\r\n" for x in lines))


def replies(pieces: list[bytes]) -> list[Reply | str]:
    protocol = ClientProtocol()
    protocol.ehlo("us.example")
    for _ in range(5):
        protocol.noop()
    said: list[Reply | str] = []
    try:
        for piece in pieces:
            protocol.receive_data(piece)
            while (reply := protocol.next_reply()) is not None:
                said.append(reply)
    except PeerProtocolError as error:
        said.append("nonsense" if str(error).isprintable() else str(error))
    return said


@given(STREAM, st.lists(st.integers(1, 10), max_size=40))
def test_segments_do_not_matter(stream: bytes, sizes: list[int]) -> None:
    pieces, rest = [], stream
    for size in sizes:
        pieces.append(rest[:size])
        rest = rest[size:]
    in_pieces = replies([piece for piece in [*pieces, rest] if piece])
    assert in_pieces == replies([stream] if stream else [])
    for reply in in_pieces:
        assert str(reply).isprintable()
        if isinstance(reply, Reply):
            assert len(reply.lines) <= 100
            assert all(len(line) <= 512 for line in reply.lines)


LOCAL_PARTS = st.one_of(
    st.from_regex(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]{1,20}(\.[a-z]{1,20})?", fullmatch=True),
    st.from_regex(r'"([ !#-\[\]-~]|\\[ -~]){0,20}"', fullmatch=True),
)
DOMAINS = st.one_of(
    st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?(\.[a-z]{2,10}){0,3}", fullmatch=True),
    st.sampled_from(["[192.0.2.1]", "[IPv6:2001:db8::1]"]),
)
MAILBOXES = st.builds(Mailbox, LOCAL_PARTS, DOMAINS)
#: RFC 3461 section 4: what it stands for is printable.
PRINTABLE = st.characters(exclude_categories=("Cc", "Cs"))
XTEXT = (
    st.text(PRINTABLE, min_size=1, max_size=12).map(encode_xtext).filter(lambda x: len(x) <= 80)
)
ENVELOPES = st.builds(
    Envelope,
    st.builds(ReversePath, st.none() | MAILBOXES),
    body=st.none() | st.sampled_from([Body.SEVEN_BIT, Body.EIGHT_BIT_MIME]),
    smtputf8=st.booleans(),
    ret=st.none() | st.sampled_from(Ret),
    envid=st.none() | XTEXT,
)
RECIPIENTS = st.builds(
    Recipient,
    st.builds(ForwardPath, MAILBOXES),
    st.none() | st.sampled_from([Notify.NEVER, Notify.SUCCESS, Notify.FAILURE | Notify.DELAY]),
    st.none() | XTEXT.map("rfc822;{}".format),
)


@given(ENVELOPES, RECIPIENTS, st.integers(0, 10**6))
def test_what_the_client_says_the_server_understands(
    envelope: Envelope, recipient: Recipient, size: int
) -> None:
    server = ServerProtocol(extensions=Extensions(10**6), postmaster=Mailbox("p", "us.example"))
    client = ClientProtocol()
    heard: list[Event] = []

    def exchange(octets: bytes) -> None:
        server.receive_data(octets)
        event = server.next_event()
        assert event is not None
        heard.append(event)
        is_hello = len(heard) == 1
        reply = server.ehlo_reply("mx.example") if is_hello else Reply(250, "2.1.0", "OK")
        client.receive_data(server.send(reply))
        assert client.next_reply() == reply

    client.receive_data(b"220 mx.example\r\n")
    client.next_reply()
    exchange(client.ehlo("us.example"))
    exchange(client.mail(envelope, size=size, body=envelope.body))
    exchange(client.rcpt(recipient))
    assert heard[1:] == [Mail(envelope, size), Rcpt(recipient)]
