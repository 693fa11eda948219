"""Conversations with the client's half, as calls; servers here are as rude as real ones."""

from __future__ import annotations

import pytest

from edgerelay.mail.address import NULL_REVERSE_PATH, ForwardPath, Mailbox, ReversePath
from edgerelay.mail.envelope import Body, Envelope, Notify, Recipient, Ret
from edgerelay.mail.reply import Reply
from edgerelay.smtp.client import Capabilities, ClientProtocol
from edgerelay.smtp.errors import LocalProtocolError, PeerClosedError, PeerProtocolError

ENVELOPE = Envelope(
    ReversePath(Mailbox("a", "b.example")), smtputf8=True, ret=Ret.FULL, envid="x+2By"
)
RECIPIENT = Recipient(
    ForwardPath(Mailbox("c", "d.example")), Notify.DELAY | Notify.SUCCESS, "rfc822;C@d.example"
)
EVERYTHING = (
    b"250-mx.example\r\n250-PIPELINING\r\n250-size 1000\r\n250-8BITMIME\r\n250-DSN\r\n"
    b"250-STARTTLS\r\n250-ENHANCEDSTATUSCODES\r\n250 SMTPUTF8\r\n"
)


def hear(protocol: ClientProtocol, octets: bytes) -> list[str]:
    protocol.receive_data(octets)
    replies = []
    while (reply := protocol.next_reply()) is not None:
        replies.append(str(reply))
    return replies


def hear_all(protocol: ClientProtocol, pieces: list[bytes]) -> None:
    for piece in pieces:
        hear(protocol, piece)


def greeted(*, lmtp: bool = False, ehlo: bytes = EVERYTHING) -> ClientProtocol:
    protocol = ClientProtocol(lmtp=lmtp)
    assert hear(protocol, b"220 mx.example ESMTP\r\n") == ["220 mx.example ESMTP"]
    protocol.ehlo("us.example")
    assert len(hear(protocol, ehlo)) == 1
    return protocol


def test_the_greeting_is_the_first_reply() -> None:
    protocol = ClientProtocol()
    assert protocol.next_reply() is None
    assert hear(protocol, b"220 mx.exa") == []
    assert hear(protocol, b"mple\r") == []
    assert hear(protocol, b"\n") == ["220 mx.example"]


def test_commands() -> None:
    protocol = ClientProtocol()
    assert protocol.ehlo("us.example") == b"EHLO us.example\r\n"
    assert protocol.helo("us.example") == b"HELO us.example\r\n"
    assert protocol.data() == b"DATA\r\n"
    assert protocol.rset() == b"RSET\r\n"
    assert protocol.noop() == b"NOOP\r\n"
    assert protocol.quit() == b"QUIT\r\n"
    assert protocol.starttls() == b"STARTTLS\r\n"
    assert ClientProtocol(lmtp=True).ehlo("us.example") == b"LHLO us.example\r\n"


def test_what_the_server_offers() -> None:
    assert greeted().capabilities == Capabilities(
        pipelining=True,
        eight_bit=True,
        smtputf8=True,
        dsn=True,
        starttls=True,
        enhanced=True,
        size=1000,
    )


@pytest.mark.parametrize(
    ("line", "size"),
    [
        (b"SIZE", 0),
        (b"SIZE 0", 0),
        (b"SIZE 52428800", 52428800),
        (b"SIZE much", 0),
        (b"SIZE=5", None),
        (b"SIZE " + b"9" * 5000, None),
    ],
)
def test_the_size_a_server_offers(line: bytes, size: int | None) -> None:
    if len(line) > 4000:
        with pytest.raises(PeerProtocolError):
            greeted(ehlo=b"250-mx\r\n250 " + line + b"\r\n")
    else:
        assert greeted(ehlo=b"250-mx\r\n250 " + line + b"\r\n").capabilities.size == size


def test_our_own_name_is_no_capability() -> None:
    assert greeted(ehlo=b"250 DSN\r\n").capabilities == Capabilities()


def test_a_refused_ehlo_and_a_helo_offer_nothing() -> None:
    protocol = greeted()
    protocol.ehlo("us.example")
    hear(protocol, b"502 5.5.1 What?\r\n")
    assert protocol.capabilities == Capabilities()
    protocol = greeted()
    protocol.helo("us.example")
    hear(protocol, b"250 DSN\r\n")
    assert protocol.capabilities == Capabilities()


def test_parameters_go_to_servers_that_offer_them() -> None:
    protocol = greeted()
    assert protocol.mail(ENVELOPE, size=5, body=Body.EIGHT_BIT_MIME) == (
        b"MAIL FROM:<a@b.example> SIZE=5 BODY=8BITMIME SMTPUTF8 RET=FULL ENVID=x+2By\r\n"
    )
    assert protocol.rcpt(RECIPIENT) == (
        b"RCPT TO:<c@d.example> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;C@d.example\r\n"
    )


def test_parameters_do_not_go_to_servers_that_do_not() -> None:
    protocol = greeted(ehlo=b"250 mx\r\n")
    assert protocol.mail(ENVELOPE, size=5, body=Body.EIGHT_BIT_MIME) == (
        b"MAIL FROM:<a@b.example>\r\n"
    )
    assert protocol.rcpt(RECIPIENT) == b"RCPT TO:<c@d.example>\r\n"


def test_what_was_not_given_is_not_sent() -> None:
    protocol = greeted()
    assert protocol.mail(Envelope(NULL_REVERSE_PATH), size=7, body=None) == (
        b"MAIL FROM:<> SIZE=7\r\n"
    )
    assert protocol.rcpt(Recipient(RECIPIENT.forward_path)) == b"RCPT TO:<c@d.example>\r\n"


def test_never_is_said_alone() -> None:
    recipient = Recipient(RECIPIENT.forward_path, Notify.NEVER)
    assert greeted().rcpt(recipient) == b"RCPT TO:<c@d.example> NOTIFY=NEVER\r\n"


def test_an_international_orcpt_becomes_ascii_where_it_must() -> None:
    """RFC 6533 section 3."""
    recipient = Recipient(RECIPIENT.forward_path, None, "utf-8;é@d.example")
    assert greeted().rcpt(recipient).decode().endswith("ORCPT=utf-8;é@d.example\r\n")
    assert (
        greeted(ehlo=b"250-mx\r\n250 DSN\r\n")
        .rcpt(recipient)
        .endswith(b"ORCPT=utf-8;\\x{E9}@d.example\r\n")
    )


def test_a_line_end_in_an_address_never_leaves() -> None:
    evil = Recipient(ForwardPath(Mailbox("a\r\nRSET", "d.example")))
    with pytest.raises(LocalProtocolError):
        greeted().rcpt(evil)


@pytest.mark.parametrize(
    ("octets", "reply"),
    [
        (b"250 2.1.0 OK\r\n", Reply(250, "2.1.0", "OK")),
        (b"250\r\n", Reply(250, "", "")),
        (b"250 \r\n", Reply(250, "", "")),
        (b"550 5.1.1\r\n", Reply(550, "5.1.1", "")),
        (
            b"550-5.1.1 No\r\n550-5.1.1 such\r\n550 user\r\n",
            Reply(550, "5.1.1", "No", ("such", "user")),
        ),
        (b"250 5.1.1 contradicts\r\n", Reply(250, "", "5.1.1 contradicts")),
        (b"250 2.1.0OK\r\n", Reply(250, "", "2.1.0OK")),
        (b"250 2.1.0000 OK\r\n", Reply(250, "", "2.1.0000 OK")),
        (b"250 a\x1b[31m\x00\tb\r\n", Reply(250, "", "a\\x1b[31m\\x00\\tb")),
        (b"250 \xff \xc3\xa9\r\n", Reply(250, "", "\\xff é")),
        (b"250 a\rb\r\n", Reply(250, "", "a\\rb")),
        (b"299 x\r\n", Reply(299, "", "x")),
        (b"250 " + b"x" * 4000 + b"\r\n", Reply(250, "", "x" * 512)),
        (b"250-x\r\n" * 60 + b"250 y\r\n", Reply(250, "", "x", ("x",) * 19)),
    ],
)
def test_replies(octets: bytes, reply: Reply) -> None:
    for pieces in ([octets], [bytes([octet]) for octet in octets]):
        protocol = greeted()
        protocol.noop()
        for piece in pieces:
            assert protocol.next_reply() is None
            protocol.receive_data(piece)
        assert protocol.next_reply() == reply
        assert protocol.next_reply() is None


@pytest.mark.parametrize(
    "octets",
    [
        b"hello\r\n",
        b"\r\n",
        b"25 x\r\n",
        b"2500 x\r\n",
        b"250_x\r\n",
        b"150 wait\r\n",
        b"650 x\r\n",
        b"\xb2\xb5\xb0 x\r\n",
        b"250-x\r\n251 y\r\n",
        b"250-x\r\nhello\r\n",
        b"250 x\n",
        b"250 x\n250 y\r\n",
        b"250 " + b"x" * 4093,
        b"250-x\r\n" * 101,
        b"HTTP/1.1 400 Bad Request\r\n",
    ],
)
def test_nonsense_is_no_reply(octets: bytes) -> None:
    for pieces in ([octets], [bytes([octet]) for octet in octets]):
        protocol = greeted()
        protocol.noop()
        with pytest.raises(PeerProtocolError) as caught:
            hear_all(protocol, pieces)
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 200


def test_a_reply_that_nobody_asked_for() -> None:
    protocol = greeted()
    with pytest.raises(PeerProtocolError, match=r"unasked: 421 4\.3\.2 Idle"):
        hear(protocol, b"421 4.3.2 Idle for too long\r\n")
    protocol = ClientProtocol()
    with pytest.raises(PeerProtocolError, match="unasked"):
        hear(protocol, b"220 hello\r\n250 and taken\r\n")


def test_the_server_leaves() -> None:
    protocol = greeted()
    assert hear(protocol, b"") == []
    for said in (b"2", b"25", b"250-x\r\n"):
        protocol = greeted()
        protocol.noop()
        hear(protocol, said)
        with pytest.raises(PeerClosedError):
            hear(protocol, b"")
    protocol = greeted()
    protocol.quit()
    protocol.receive_data(b"221 2.0.0 Bye\r\n")
    protocol.receive_data(b"")
    assert str(protocol.next_reply()) == "221 2.0.0 Bye"
    assert protocol.next_reply() is None


def test_a_group_is_answered_in_order() -> None:
    protocol = greeted()
    protocol.mail(ENVELOPE, size=5, body=None)
    protocol.rcpt(RECIPIENT)
    protocol.rcpt(RECIPIENT)
    protocol.data()
    assert hear(protocol, b"250 2.1.0 A\r\n250 2.1.5 B\r\n550 5.1.1 C\r\n354 D\r\n") == [
        "250 2.1.0 A",
        "250 2.1.5 B",
        "550 5.1.1 C",
        "354 D",
    ]
    protocol.end_of_data()
    assert hear(protocol, b"250 2.0.0 E\r\n") == ["250 2.0.0 E"]
    with pytest.raises(PeerProtocolError):
        hear(protocol, b"250 2.0.0 F\r\n")


def test_lmtp_answers_for_each_accepted_recipient() -> None:
    """RFC 2033 section 4.2."""
    protocol = greeted(lmtp=True)
    for _ in range(2):
        protocol.mail(ENVELOPE, size=5, body=None)
        for _ in range(3):
            protocol.rcpt(RECIPIENT)
        protocol.data()
        hear(protocol, b"250 A\r\n250 B\r\n550 C\r\n251 D\r\n354 E\r\n")
        protocol.end_of_data()
        assert len(hear(protocol, b"250 F\r\n452 G\r\n")) == 2
    with pytest.raises(PeerProtocolError):
        hear(protocol, b"250 H\r\n")


def sent(*pieces: bytes) -> bytes:
    protocol = ClientProtocol()
    protocol.data()
    return b"".join(map(protocol.content, pieces)) + protocol.end_of_data()


@pytest.mark.parametrize(
    ("content", "wire"),
    [
        (b"", b".\r\n"),
        (b"x\r\n", b"x\r\n.\r\n"),
        (b"x", b"x\r\n.\r\n"),
        (b".\r\n", b"..\r\n.\r\n"),
        (b"..", b"...\r\n.\r\n"),
        (b"a\r\n.\r\n.b\r\nc.\r\n", b"a\r\n..\r\n..b\r\nc.\r\n.\r\n"),
        (b"\r\n.\r\n", b"\r\n..\r\n.\r\n"),
        (b"a.b\r\n\r\n", b"a.b\r\n\r\n.\r\n"),
        (b"a\r", b"a\r\r\n.\r\n"),
        (b"a\n.b\r\n", b"a\n.b\r\n.\r\n"),
        (b"\xff\x00\r\n", b"\xff\x00\r\n.\r\n"),
    ],
)
def test_content_on_the_wire(content: bytes, wire: bytes) -> None:
    assert sent(content) == wire
    assert sent(*(bytes([octet]) for octet in content)) == wire
    for cut in range(len(content)):
        assert sent(content[:cut], content[cut:]) == wire


def test_each_message_begins_anew() -> None:
    protocol = ClientProtocol()
    protocol.data()
    protocol.content(b"x")
    protocol.data()
    assert protocol.content(b".") == b".."


def test_tls() -> None:
    protocol = greeted()
    protocol.starttls()
    with pytest.raises(LocalProtocolError):
        protocol.tls_started()
    assert hear(protocol, b"220 2.0.0 Go ahead\r\n") == ["220 2.0.0 Go ahead"]
    protocol.tls_started()
    assert protocol.capabilities == Capabilities()
    protocol.ehlo("us.example")
    hear(protocol, EVERYTHING)
    assert protocol.capabilities.pipelining


@pytest.mark.parametrize("injected", [b"250 x\r\n", b"2", b"250-x\r\n"])
def test_what_follows_the_220_of_starttls_was_put_there(injected: bytes) -> None:
    """RFC 3207 section 6; the client's side of CVE-2011-0411."""
    protocol = greeted()
    protocol.starttls()
    protocol.receive_data(b"220 2.0.0 Go ahead\r\n" + injected)
    assert protocol.next_reply() is not None
    with pytest.raises(PeerProtocolError):
        protocol.tls_started()


def test_a_250_from_before_the_dot_is_no_word_for_the_message() -> None:
    """It would be taken for the server's, and the message would be lost."""
    protocol = ClientProtocol()
    protocol.receive_data(b"220 a\r\n")
    protocol.next_reply()
    protocol.data()
    protocol.receive_data(b"354 go ahead\r\n250 2.0.0 taken\r\n")
    assert protocol.next_reply() is not None
    with pytest.raises(PeerProtocolError, match="before it was asked"):
        protocol.end_of_data()


def test_replies_sent_with_the_greeting_answer_nothing() -> None:
    protocol = ClientProtocol()
    protocol.receive_data(b"220 a\r\n250 b\r\n250 c\r\n")
    protocol.next_reply()
    with pytest.raises(PeerProtocolError, match="before it was asked"):
        protocol.ehlo("client.example")
