"""What must hold for whatever octets come from outside: one function for each reader of them.

Each takes a fuzzer's octets and raises AssertionError, or whatever escaped, if it does not hold.
The first octets say how the rest is cut into segments: what is read may not depend on that.
`run.py` has atheris look for octets that break one; the tests try those of `corpus/`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final, NamedTuple

from edgerelay.edge.proxy import ProxyError, parse_proxy_header, still_needed
from edgerelay.mail.address import Mailbox
from edgerelay.mail.headers import HeaderScanner
from edgerelay.mail.reply import Reply
from edgerelay.smtp.client import ClientProtocol
from edgerelay.smtp.data import ChunkReader, DataReader
from edgerelay.smtp.errors import PeerProtocolError
from edgerelay.smtp.events import (
    DataChunk,
    EndOfChunk,
    EndOfData,
    Event,
    Mail,
    Quit,
    Rcpt,
    Refused,
    StartChunk,
    StartData,
)
from edgerelay.smtp.extensions import Extensions
from edgerelay.smtp.grammar import GrammarError, forward_path, hello_name, reverse_path
from edgerelay.smtp.parameters import mail_parameters, rcpt_parameters
from edgerelay.smtp.server import ServerProtocol
from edgerelay.smtp.states import State
from edgerelay.smtp.xclient import xclient
from tests.properties.test_smtp_data import cut, naive

_POSTMASTER: Final = Mailbox("postmaster", "us.example")
_CONTENT_LIMIT: Final = 600


def _cut(data: bytes) -> tuple[list[bytes], bytes]:
    """Segments as the first octets have it, and all of them in one."""
    sizes, whole = data[:6], data[6:]
    return cut(whole, [size % 40 for size in sizes]), whole


def _answer(event: Event) -> Reply:
    match event:
        case Refused():
            return event.reply
        case Quit():
            return Reply(221, "2.0.0", "Bye")
        case StartData():
            return Reply(354, "", "Go ahead")
        case EndOfData() | EndOfChunk() if event.problem is not None:
            return Reply(550, "5.6.0", "No")
        case _:
            return Reply(250, "2.0.0", "Ok")


class _Conversation(NamedTuple):
    happened: list[object]
    said: bytes
    content: bytes
    replies: int  # that were to be said


def _converse(pieces: list[bytes]) -> _Conversation:
    """With a server that has, after the content, a reply for each recipient where PRDR lets it."""
    offered = Extensions(_CONTENT_LIMIT, starttls=True, binarymime=True, prdr=True)
    protocol = ServerProtocol(extensions=offered, postmaster=_POSTMASTER)
    protocol.offer_xclient(True)
    happened: list[object] = []
    said, content = bytearray(), bytearray()
    recipients, prdr, replies = 0, False, 0
    for piece in pieces:
        protocol.receive_data(piece)
        while (event := protocol.next_event()) is not None:
            if isinstance(event, DataChunk):
                assert event.data, "an empty chunk"
                content += event.data
            elif isinstance(event, StartChunk):
                happened.append(event)
            else:
                happened.append(event)
                reply = _answer(event)
                replies += 1
                if isinstance(event, Mail):
                    recipients, prdr = 0, event.prdr
                recipients += isinstance(event, Rcpt)
                if prdr and isinstance(event, EndOfData) and reply.code == 250:
                    said += protocol.send_for_each([reply] * recipients, reply)
                    replies += 1 + recipients
                else:
                    said += protocol.send(reply)
                if isinstance(event, Refused):
                    assert event.line.isprintable()
                    assert len(event.line) <= 100
            if protocol.state in (State.CLOSED, State.HANDSHAKE):
                return _Conversation(happened, bytes(said), bytes(content), replies)
    return _Conversation(happened, bytes(said), bytes(content), replies)


def check_commands(data: bytes) -> None:
    """Segments do not matter, every command has one reply, and nothing escapes."""
    pieces, whole = _cut(data)
    hello, rcpt = b"EHLO c.example\r\n", b"RCPT TO:<c@d.example>\r\n"
    one = hello + b"MAIL FROM:<a@b.example>\r\n" + rcpt
    two = hello + b"MAIL FROM:<a@b.example> PRDR\r\n" + 2 * rcpt
    for before in (b"", one, two):
        in_pieces = _converse([before, *pieces])
        together = _converse([before + whole])
        at_ends = any(isinstance(event, Refused) and event.fatal for event in together[0])
        if not at_ends:  # STARTTLS with something behind it: that is about segments
            assert in_pieces[:2] == together[:2]
        for _, said, _, awaited in (in_pieces, together):
            replies = [line for line in said.split(b"\r\n")[:-1] if line[3:4] != b"-"]
            assert len(replies) == awaited
            assert said.isascii()
            for word in (b"Error", b"Traceback", b"Exception", b"object at"):
                assert word not in said


def check_data(data: bytes) -> None:
    """The end is where RFC 5321 has it, and no bare newline passes."""
    pieces, whole = _cut(data)
    whole += b"\r\n.\r\nQUIT\r\n"
    pieces.append(b"\r\n.\r\nQUIT\r\n")
    expected, problem, _, rest = naive(whole, 0, False)
    is_bare = problem is not None
    for normalize in (False, True):
        reader = DataReader(0, normalize=normalize)
        content = bytearray()
        for number, piece in enumerate(pieces):
            some, after = reader.feed(piece)
            content += some
            if after is not None:
                assert after + b"".join(pieces[number + 1 :]) == rest
                break
        else:
            raise AssertionError("no end")
        if normalize:
            left = content.replace(b"\r\n", b"")
            assert reader.problem is None
            assert b"\r" not in left
            assert b"\n" not in left
            assert reader.size == len(content)
        assert is_bare or bytes(content) == expected
        assert normalize or (reader.problem is not None) == is_bare


def check_chunks(data: bytes) -> None:
    """A chunk is so many octets, whatever they are and however they come."""
    pieces, whole = _cut(data)
    outcomes = set()
    for parts in (pieces, [whole]):
        for normalize, binary in ((False, False), (True, False), (False, True)):
            reader = ChunkReader(0, normalize=normalize, binary=binary)
            content = b"".join([reader.feed(part) for part in parts]) + reader.finish()
            outcomes.add((normalize, binary, reader.problem, reader.size))
            lone = content.replace(b"\r\n", b"")
            assert binary or (b"\r" not in lone and b"\n" not in lone) or reader.problem
            assert not binary or content == whole or reader.problem
    assert len(outcomes) == 3, outcomes
    envelope = b"EHLO c.example\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\n"
    command = b"BDAT %d LAST\r\n" % len(whole)
    happened, *_ = _converse([envelope, command, *pieces, b"NOOP\r\n"])
    assert len(happened) == 6, "an octet of the chunk was a command"


def check_proxy(data: bytes) -> None:
    """PROXY headers: one answer however they are cut, and one exception."""
    pieces, whole = _cut(data)

    def read(parts: list[bytes]) -> object:
        seen = b""
        try:
            for part in parts:
                seen += part
                if not still_needed(seen):
                    return parse_proxy_header(seen)
        except ProxyError:
            return "refused"
        return "more"

    assert read(pieces) == read([whole] if whole else [])


def check_grammar(data: bytes) -> None:
    """Paths, names and parameters: only their own error leaves the grammar."""
    text = data.decode("utf-8", "replace")
    for read in (
        lambda: reverse_path(text),
        lambda: forward_path(text, _POSTMASTER),
        lambda: hello_name(text),
        lambda: mail_parameters(text, extended=True),
        lambda: rcpt_parameters(text, extended=True),
        lambda: xclient(text),
    ):
        try:
            read()
        except GrammarError as error:
            refusal = error.reply
        else:
            continue
        assert refusal.code >= 500
        assert bytes(refusal).isascii()


def check_header(data: bytes) -> None:
    """Fields are read alike however the header is cut."""
    pieces, whole = _cut(data)
    counts = []
    for parts in (pieces, [whole]):
        scanner = HeaderScanner("us.example")
        for part in parts:
            scanner.feed(part)
        scanner.feed(b"\r\n\r\n")
        delivered_to = frozenset(scanner.delivered_to)
        found = (scanner.received, scanner.own_hops, scanner.results, scanner.is_headless)
        counts.append((*found, delivered_to))
    assert counts[0] == counts[1]


def check_replies(data: bytes) -> None:
    """A next hop may say what it likes: it is a reply, or the conversation is over."""

    def replies(parts: list[bytes]) -> Iterator[object]:
        protocol = ClientProtocol()
        protocol.ehlo("us.example")
        try:
            for part in [*parts, b""]:
                protocol.receive_data(part)
                while (reply := protocol.next_reply()) is not None:
                    yield reply
        except PeerProtocolError:
            yield "broken"

    pieces, whole = _cut(data)
    in_pieces, together = list(replies(pieces)), list(replies([whole] if whole else []))
    assert in_pieces == together
    for reply in together:
        assert not isinstance(reply, Reply) or "".join(reply.lines).isprintable()


CHECKS: Final[Mapping[str, Callable[[bytes], None]]] = {
    "commands": check_commands,
    "data": check_data,
    "chunks": check_chunks,
    "proxy": check_proxy,
    "grammar": check_grammar,
    "header": check_header,
    "replies": check_replies,
}
