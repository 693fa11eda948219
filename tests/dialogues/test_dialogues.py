r"""Conversations with the server, one file each: the rule, then who says what.

The first line of a file names the rule it proves. After it:

    C: text      the client sends the text and CRLF
    X: text      the client sends the text as it is, with the escapes \r \n \\ \xNN
    S: pattern   the server's next reply, its lines joined by " / "; "*" stands for anything
    M: text      the content of the message that was accepted last, line by line, as X
    = N messages, = closed, = drained, = handshake     what must be so, or what happens
    ! tls_required, ! no_starttls, ! reject_long_lines, ! normalize, ! binarymime
                                how the listener is set up
    ! segments_only             what is proved is about one segment

Consecutive C and X lines arrive as one segment. Every dialogue is held twice: so, and octet
by octet; tests/e2e/test_dialogues.py holds it once more, with a relay that really runs. At the
end nothing may be left unsaid or unread.
"""

from __future__ import annotations

import re
from collections import deque
from pathlib import Path

import pytest

from edgerelay.mail.address import Mailbox
from edgerelay.mail.envelope import Recipient
from edgerelay.mail.reply import Reply
from edgerelay.smtp.events import (
    DataChunk,
    DataProblem,
    EndOfChunk,
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
    StartChunk,
    StartData,
    StartTls,
    Verify,
)
from edgerelay.smtp.extensions import Extensions
from edgerelay.smtp.server import ServerProtocol
from edgerelay.smtp.states import State

DIALOGUES = sorted(Path(__file__).parent.glob("*.smtp"))

PROBLEMS = {
    DataProblem.BARE_NEWLINE: Reply(550, "5.6.11", "Bare CR or LF in the message"),
    DataProblem.TOO_BIG: Reply(552, "5.3.4", "Message too big"),
    DataProblem.LONG_LINE: Reply(550, "5.6.0", "Line too long"),
}


class Server:
    """Takes mail for local.test, except for nobody-here@; later@ must wait."""

    def __init__(self, options: set[str]) -> None:
        self.protocol = ServerProtocol(
            extensions=Extensions(
                1_000_000,
                starttls="no_starttls" not in options,
                recipients=1000,
                binarymime="binarymime" in options,
                prdr=True,
            ),
            postmaster=Mailbox("postmaster", "local.test"),
            tls_required="tls_required" in options,
            long_lines="reject" if "reject_long_lines" in options else "accept",
            bare_newline="normalize" if "normalize" in options else "reject",
        )
        self.said = self.protocol.send(Reply(220, "", "mx.edge.test ESMTP"))
        self.messages: list[bytes] = []
        self._content = b""

    def hear(self, octets: bytes) -> None:
        self.protocol.receive_data(octets)
        while (event := self.protocol.next_event()) is not None:
            if isinstance(event, DataChunk):
                self._content += event.data
            elif not isinstance(event, StartChunk):
                self.said += self.protocol.send(self._answer(event))

    def _answer(self, event: Event) -> Reply:
        match event:
            case Refused():
                assert event.line.isprintable()
                return event.reply
            case Hello(verb="EHLO"):
                self._content = b""
                return self.protocol.ehlo_reply("mx.edge.test")
            case Hello():
                return Reply(250, "", "mx.edge.test")
            case EndOfData():
                return self._end(event)
            case EndOfChunk():
                return self._end_of_chunk(event)
            case Reset() | Mail():
                self._content = b""
                return ANSWERS[type(event)]
            case Rcpt():
                return self._rcpt(event.recipient)
            case _:
                return ANSWERS[type(event)]

    def _rcpt(self, recipient: Recipient) -> Reply:
        mailbox = recipient.forward_path.mailbox
        if mailbox.domain_key != "local.test":
            return Reply(550, "5.7.1", "We do not relay")
        if mailbox.local_part == "nobody-here":
            return Reply(550, "5.1.1", "No such user")
        if mailbox.local_part == "later":
            return Reply(451, "4.7.1", "Try again later")
        return Reply(250, "2.1.5", "OK")

    def _end_of_chunk(self, event: EndOfChunk) -> Reply:
        if event.problem is not None:
            self._content = b""
            return PROBLEMS[event.problem]
        return Reply(250, "2.0.0", f"{event.size} octets")

    def _end(self, event: EndOfData) -> Reply:
        content, self._content = self._content, b""
        if event.problem is not None:
            return PROBLEMS[event.problem]
        assert len(content) == event.size
        self.messages.append(content)
        return Reply(250, "2.0.0", "Taken")


ANSWERS: dict[type[Event], Reply] = {
    Mail: Reply(250, "2.1.0", "OK"),
    StartData: Reply(354, "", "Go ahead"),
    Reset: Reply(250, "2.0.0", "OK"),
    Noop: Reply(250, "2.0.0", "OK"),
    Verify: Reply(252, "2.5.0", "Cannot verify"),
    Expand: Reply(502, "5.5.1", "No lists here"),
    Help: Reply(214, "2.0.0", "See RFC 5321"),
    Quit: Reply(221, "2.0.0", "Bye"),
    StartTls: Reply(220, "2.0.0", "Go ahead"),
}


def replies(said: bytes) -> deque[str]:
    """Each whole reply as one text."""
    found = re.findall(rb"((?:\d{3}-[^\r\n]*\r\n)*\d{3} [^\r\n]*\r\n)", said)
    assert b"".join(found) == said, said
    return deque(
        f"{reply[:3].decode()} " + " / ".join(line[4:] for line in reply.decode().splitlines())
        for reply in found
    )


def unescape(text: str) -> bytes:
    octets = {"r": b"\r", "n": b"\n", "\\": b"\\"}
    return b"".join(
        piece.encode()
        if not piece.startswith("\\")
        else octets[piece[1]]
        if len(piece) == 2
        else bytes([int(piece[2:], 16)])
        for piece in re.findall(r"\\x[0-9a-f]{2}|\\.|[^\\]+", text)
    )


class Stage:
    """One performance of a dialogue."""

    def __init__(self, lines: list[tuple[str, str]], *, octet_by_octet: bool) -> None:
        self._server = Server({text for mark, text in lines if mark == "!"})
        self._script = lines
        self._octet_by_octet = octet_by_octet
        self._unsent = b""
        self._unread: deque[str] = deque()

    def perform(self) -> None:
        content: list[bytes] = []
        for mark, text in self._script:
            if mark in "CX":
                self._unsent += text.encode() + b"\r\n" if mark == "C" else unescape(text)
                continue
            self._converse()
            if mark == "S":
                self._expect(text)
            elif mark == "M":
                content.append(unescape(text))
            elif mark == "=":
                self._check(text)
        self._converse()
        assert not self._unread, "the server said more"
        if content:
            assert self._server.messages[-1] == b"\r\n".join(content) + b"\r\n"

    def _converse(self) -> None:
        octets, self._unsent = self._unsent, b""
        pieces = [bytes([o]) for o in octets] if self._octet_by_octet else [octets]
        for piece in pieces:
            self._server.hear(piece)
        self._unread += replies(self._server.said)
        self._server.said = b""

    def _expect(self, pattern: str) -> None:
        assert self._unread, f"silence instead of {pattern}"
        said = self._unread.popleft()
        wanted = ".*".join(map(re.escape, pattern.split("*")))
        assert re.fullmatch(wanted, said), f"{said} instead of {pattern}"

    def _check(self, text: str) -> None:
        protocol = self._server.protocol
        match text.split():
            case [number, "messages"]:
                assert len(self._server.messages) == int(number)
            case ["closed"]:
                assert protocol.state is State.CLOSED
            case ["drained"]:
                assert protocol.is_drained
            case ["handshake"]:
                protocol.tls_started()
            case _:
                raise ValueError(text)


def read(path: Path) -> list[tuple[str, str]]:
    lines = path.read_text().splitlines()
    assert re.match(r"# RFC \d+ section \d", lines[0]), "the first line names the rule"
    spoken = [line for line in lines if line and not line.startswith("#")]
    return [(line[0], re.sub(r"^.:? ?", "", line)) for line in spoken]


@pytest.mark.parametrize("octet_by_octet", [False, True], ids=["segments", "octets"])
@pytest.mark.parametrize("path", DIALOGUES, ids=lambda path: path.stem)
def test_dialogue(path: Path, octet_by_octet: bool) -> None:
    script = read(path)
    if octet_by_octet and ("!", "segments_only") in script:
        pytest.skip("what is proved is about one segment")
    Stage(script, octet_by_octet=octet_by_octet).perform()
