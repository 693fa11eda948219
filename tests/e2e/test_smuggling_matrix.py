"""Every published way to smuggle a second message, through a relay, to real next hops.

The attack (2023, CVE-2023-51764 to 51766): what a relay takes for content, its next hop takes
for the end of the data and for commands. Each sequence stands in the content, a whole smuggled
transaction behind it; it is sent in one segment, cut at each of its octets, and octet by octet.
What arrived is read from the next hop's own log.
"""

from __future__ import annotations

import contextlib
import re
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, Protocol, get_args

import pytest

from edgerelay.config.model import Listener
from tests.e2e.support.edgerelay import Edgerelay
from tests.e2e.support.exim import Exim
from tests.e2e.support.next_hop import NextHop
from tests.e2e.support.opensmtpd import OpenSmtpd
from tests.e2e.support.postfix import Postfix
from tests.e2e.support.tools import SmtpSink
from tests.e2e.support.waiting import pause, wait_for

BOB = "bob@example.test"
#: All that a listener may be told, so that a new setting is tried as soon as it exists.
SETTINGS: tuple[str, ...] = get_args(Listener.model_fields["bare_newline"].annotation)
END = b"\r\n.\r\n"

SEQUENCES = {
    "LF.LF": b"\n.\n",
    "LF.CRLF": b"\n.\r\n",
    "LF.CR": b"\n.\r",
    "CR.CR": b"\r.\r",
    "CR.LF": b"\r.\n",
    "CR.CRLF": b"\r.\r\n",
    "CRLF.LF": b"\r\n.\n",
    "CRLF.CR": b"\r\n.\r",
    "CRCRLF.CRCRLF": b"\r\r\n.\r\r\n",
    "CRLF.CRCRLF": b"\r\n.\r\r\n",
    "LFLF.LFLF": b"\n\n.\n\n",
    "LFCR.LFCR": b"\n\r.\n\r",
    "CRLF NUL.CRLF": b"\r\n\0.\r\n",
    "CRLF.NUL CRLF": b"\r\n.\0\r\n",
    "CR NUL LF.CRLF": b"\r\0\n.\r\n",
    "CRLF.CR NUL LF": b"\r\n.\r\0\n",
    "LF NUL.LF": b"\n\0.\n",
    "CRLF..CRLF": b"\r\n..\r\n",
    "CRLF..LF": b"\r\n..\n",
    "CRLF..CR": b"\r\n..\r",
    "LF..LF": b"\n..\n",
    "LF..CRLF": b"\n..\r\n",
    "CR..CR": b"\r..\r",
    "CRLF...CRLF": b"\r\n...\r\n",
    # These two are the end of the data: what follows is the same client's next transaction, and
    # that it arrives shows that a second message would be seen (RFC 2920 section 3.1).
    "CRCRLF.CRLF": b"\r\r\n.\r\n",
    "CRLF.CRLF": b"\r\n.\r\n",
}


class Case(NamedTuple):
    number: int
    name: str
    pieces: tuple[bytes, ...]  #: of the sequence, each in a segment of its own
    ends: bool  #: the sequence ends the data

    @property
    def sender(self) -> str:
        return f"open{self.number}@src.test"

    @property
    def smuggled(self) -> str:
        return f"smuggled{self.number}@src.test"

    def segments(self) -> list[bytes]:
        head = f"From: <{self.sender}>\r\nTo: <{BOB}>\r\nSubject: {self.name}\r\n\r\nfirst"
        hidden = (
            f"MAIL FROM:<{self.smuggled}>\r\nRCPT TO:<{BOB}>\r\nDATA\r\n"
            f"From: <{self.smuggled}>\r\nSubject: smuggled\r\n\r\nsecond\r\n.\r\nQUIT\r\n"
        )
        first, *others = self.pieces
        segments = [head.encode() + first, *others]
        segments[-1] += hidden.encode()
        return segments


class Hop(Protocol):
    """A next hop that knows whose messages it took."""

    port: int

    def taken(self) -> list[str]: ...


def cases() -> Iterator[Case]:
    number = 0
    for name, sequence in SEQUENCES.items():
        whole = ((sequence,), tuple(bytes([octet]) for octet in sequence))
        cuts = ((b"", sequence), (sequence, b""))
        inner = ((sequence[:at], sequence[at:]) for at in range(1, len(sequence)))
        for pieces in (*whole, *cuts, *inner):
            yield Case(number, f"{name} as {pieces}", pieces, END in sequence)
            number += 1


class LoggingPostfix(Postfix):
    def taken(self) -> list[str]:
        return re.findall(r"postfix/qmgr\[\d+\]: \w+: from=<(\S*?)>, size=", self.maillog)


class DumpingSink(SmtpSink):
    def taken(self) -> list[str]:
        mails = [re.findall(rb"^X-Mail-Args: <(\S*?)>", m, re.M) for m in self.messages()]
        return [mail.decode() for of_one in mails for mail in of_one]


@contextlib.contextmanager
def postfix(directory: Path) -> Iterator[Hop]:
    with LoggingPostfix(directory, mailboxes=(BOB,)) as server:
        yield server


@contextlib.contextmanager
def exim(directory: Path) -> Iterator[Hop]:
    with Exim(directory) as server:
        yield server


@contextlib.contextmanager
def opensmtpd(directory: Path) -> Iterator[Hop]:
    with NextHop() as beyond, OpenSmtpd(directory, relay_to=beyond.port) as server:
        yield server


@contextlib.contextmanager
def smtp_sink(directory: Path) -> Iterator[Hop]:
    with DumpingSink(directory, dump=True) as server:
        yield server


def converse(port: int, case: Case) -> list[str]:
    """Send the case as its segments are, and return the replies after 354."""
    with (
        socket.create_connection(("127.0.0.1", port), 30) as client,
        client.makefile("rb") as lines,
    ):
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def reply() -> str:
            while (line := lines.readline().decode()) and line[3:4] == "-":
                pass
            return line.strip()

        reply()
        commands = ("EHLO client.test", f"MAIL FROM:<{case.sender}>", f"RCPT TO:<{BOB}>", "DATA")
        for command in commands:
            client.sendall(command.encode() + b"\r\n")
            answer = reply()
        assert answer.startswith("354"), answer
        for segment in case.segments():
            client.sendall(segment)
            pause(0.01)  # so that the relay reads it alone
        return list(iter(reply, ""))


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("hop", [postfix, exim, opensmtpd, smtp_sink], ids=lambda h: h.__name__)
def test_nothing_is_smuggled_past_the_relay(
    workdir: Path,
    relay: Callable[..., Edgerelay],
    hop: Callable[[Path], contextlib.AbstractContextManager[Hop]],
    setting: str,
) -> None:
    tried = list(cases())
    with hop(workdir / "hop") as server:
        between = relay(f"smtp://127.0.0.1:{server.port}", listener={"bare_newline": setting})
        with ThreadPoolExecutor(16) as threads:
            replies = list(threads.map(lambda case: converse(between.port, case), tried))
        committed = sum(r.startswith("250") and "queued as" in r for said in replies for r in said)
        wait_for(
            f"{committed} deliveries",
            lambda: len(between.find("delivery")) >= committed,
            60,
        )
        assert len(between.find("delivery", outcome="delivered")) == committed
        wait_for("the next hop's log", lambda: len(server.taken()) >= committed)
        pause(0.3)  # for what must not come
        taken = Counter(server.taken())
    wrong = [
        f"{case.name}: {fault}; the client heard {said}"
        for case, said in zip(tried, replies, strict=True)
        if (fault := _fault(case, said, taken))
    ]
    assert not wrong, "\n".join(wrong)
    assert sum(taken.values()) == committed, taken
    control = [case for case in tried if case.name.startswith("CRLF.CRLF as")]
    assert all(taken[c.sender] == taken[c.smuggled] == 1 for c in control), "a second is seen"


def test_without_us_a_next_hop_takes_the_second_message(workdir: Path) -> None:
    """What the matrix looks for exists: a Postfix as it was before the attack was known."""
    names = ("LF.LF", "LF.CRLF", "CRLF.LF", "CRCRLF.CRCRLF", "CRLF.CRCRLF", "CRLF.CRLF")
    whole = {case.name: case for case in cases() if len(case.pieces) == 1}
    tried = [whole[f"{name} as {(SEQUENCES[name],)}"] for name in names]
    extra = {"smtpd_forbid_bare_newline": "no"}
    with LoggingPostfix(workdir / "hop", mailboxes=(BOB,), extra=extra) as server:
        said = [converse(server.port, case) for case in tried]
        wait_for("both of each", lambda: len(server.taken()) == 2 * len(tried))
        taken = Counter(server.taken())
    assert all(taken[case.smuggled] == 1 for case in tried)
    faults = {
        name: _fault(case, replies, taken)
        for name, case, replies in zip(names, tried, said, strict=True)
    }
    assert [name for name, fault in faults.items() if not fault] == ["CRLF.CRLF"]


def test_every_row_would_tell_of_a_second_message() -> None:
    ended = [
        "250 2.0.0 Ok: queued as A",
        *("250 2.1.0 Ok", "250 2.1.5 Ok", "354 Go ahead"),
        *("250 2.0.0 Ok: queued as B", "221 2.0.0 Bye"),
    ]
    passed = [ended[0], ended[-1]]
    for case in cases():
        first, both = Counter([case.sender]), Counter([case.sender, case.smuggled])
        if case.ends:
            assert not _fault(case, ended, both)
            assert _fault(case, ended, first), "the client's own second message is lost"
        else:
            assert not _fault(case, passed, first)
            assert _fault(case, ended, both), "we end the data"
            assert _fault(case, passed, both), "the next hop ends it"
            assert _fault(case, passed, Counter()), "it is lost"


def _fault(case: Case, said: list[str], taken: Counter[str]) -> str:
    """What is wrong with the outcome of a case, or nothing."""
    *finals, bye = said
    if not bye.startswith("221"):
        return "the session did not end in order"
    if case.ends:
        # The first may have been refused, for its bare CR; the second is the client's own.
        dots = [r for r in finals if r[:1] in "25" and ("queued as" in r or r[:3] == "550")]
        expected = ["queued as" in dot for dot in dots]
        got = [bool(taken[case.sender]), bool(taken[case.smuggled])]
        if len(finals) != 5 or expected != got:
            return f"{taken[case.sender]} and {taken[case.smuggled]} arrived"
        return ""
    if len(finals) != 1:
        return "something was answered that was content"
    if taken[case.smuggled]:
        return "the smuggled message arrived"
    if taken[case.sender] != ("queued as" in finals[0]):
        return f"{taken[case.sender]} messages arrived"
    return ""
