"""Clients: each sends one message until it knows what became of it, and loses its patience.

Every attempt is another message to us, since a client that heard no answer sends again: it has
an id of its own, in its Message-ID and in its reverse-path.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from random import Random
from typing import Final, Protocol

import trio

from edgerelay.testing.client import HungUp, SmtpClient, stuffed
from edgerelay.testing.memory_transport import MemoryTransport
from edgerelay.testing.simulation.faults import Faults

#: Seconds a client waits for any reply, its own limit of RFC 5321 section 4.5.3.2.
PATIENCE: Final = 300.0
ATTEMPTS: Final = 5


class Fate(Enum):
    NOT_SENT = "the final dot did not leave, or not whole"
    UNKNOWN = "the final dot has left, and no answer was read"
    TAKEN = "the answer to the final dot was 250"
    REFUSED = "the answer was another one"


@dataclass(eq=False)
class Attempt:
    """``rcpts`` are those that RCPT was answered 250 for."""

    id: str
    content: bytes
    rcpts: list[str] = field(default_factory=list)
    fate: Fate = Fate.NOT_SENT
    reply: str = ""


@dataclass(eq=False)
class Mail:
    """What somebody wants to send. ``has_reverse_path``: a report may go back to it."""

    id: str
    rcpts: list[str]
    notify: dict[str, str]
    size: int
    has_reverse_path: bool
    pipelines: bool
    attempts: list[Attempt] = field(default_factory=list)

    def next_attempt(self) -> Attempt:
        id_ = f"{self.id}a{len(self.attempts)}"
        head = f"From: <x@src.test>\r\nMessage-ID: <{id_}@src.test>\r\nSubject: {id_}\r\n\r\n"
        lines = f"{id_} .. \r\n.\r\n..{id_}\r\n" + f"{id_:-<70}\r\n" * (self.size // 72)
        self.attempts.append(Attempt(id_, (head + lines).encode()))
        return self.attempts[-1]


class Listens(Protocol):
    def connect(self, client: str) -> MemoryTransport | None:
        """Connect to some worker; None: nobody listens."""


LOCAL_PARTS: Final = (
    *("ann", "bob", "cid", "dora") * 3,
    *("unknown", "full", "hold", "drop", "later", "no", "hang", "raise"),
)


def some_mail(number: int, random: Random) -> Mail:
    rcpts = {
        f"{random.choice(LOCAL_PARTS)}@{random.choice(('a', 'b', 'c'))}.test"
        for _ in range(random.choice((1, 1, 1, 2, 3, 5)))
    }
    ways = ("", "", "", "NOTIFY=NEVER", "NOTIFY=FAILURE,DELAY", "NOTIFY=SUCCESS,FAILURE")
    return Mail(
        id=f"m{number}",
        rcpts=sorted(rcpts),
        notify={rcpt: random.choice(ways) for rcpt in sorted(rcpts)},
        size=random.choice((0, 500, 500, 4000, 20_000, 20_000, 300_000)),
        has_reverse_path=random.random() < 0.8,
        pipelines=random.random() < 0.5,
    )


async def send(mail: Mail, relay: Listens, faults: Faults) -> None:
    """Try until an attempt is taken or refused for good, a few times at most."""
    for number in range(ATTEMPTS):
        attempt = mail.next_attempt()
        transport = relay.connect(f"192.0.2.{faults.random.randint(1, 250)}")
        if transport is not None:
            with trio.move_on_after(PATIENCE):
                with suppress(HungUp):
                    await _converse(SmtpClient(transport), mail, attempt, faults)
            transport.abort()
        if attempt.fate is Fate.TAKEN or attempt.reply.startswith("5"):
            return
        await trio.sleep(5 * 2**number + faults.random.random())


async def _converse(client: SmtpClient, mail: Mail, attempt: Attempt, faults: Faults) -> None:
    attempt.reply = await client.hear()
    if not attempt.reply.startswith("2"):
        return
    await _ask(client, "EHLO client.test", faults)
    sender = f"{attempt.id}@src.test" if mail.has_reverse_path else ""
    commands = [f"MAIL FROM:<{sender}>"]
    commands += [f"RCPT TO:<{rcpt}> {mail.notify[rcpt]}".rstrip() for rcpt in mail.rcpts]
    if mail.pipelines:
        await client.say(*commands)
        replies = [await client.hear() for _ in commands]
    else:
        replies = [await _ask(client, command, faults) for command in commands]
    attempt.reply = next((reply for reply in replies if not reply.startswith("2")), "")
    if not replies[0].startswith("2"):
        return
    said = dict(zip(mail.rcpts, replies[1:], strict=True))
    attempt.rcpts = [rcpt for rcpt in mail.rcpts if said[rcpt].startswith("2")]
    if not attempt.rcpts:
        return
    attempt.reply = await _ask(client, "DATA", faults)
    if attempt.reply.startswith("3"):
        await _send_content(client, attempt, faults)


async def _ask(client: SmtpClient, line: str, faults: Faults) -> str:
    if faults.strike("client hangs up", 0.01):
        raise HungUp
    if faults.strike("client is slow", 0.05):
        await trio.sleep(faults.seconds(60.0))
    await client.say(line)
    if faults.strike("client hangs up before the reply", 0.01):
        raise HungUp
    return await client.hear()


async def _send_content(client: SmtpClient, attempt: Attempt, faults: Faults) -> None:
    octets = stuffed(attempt.content) + b".\r\n"
    if faults.strike("client hangs up within the content", 0.03):
        await client.send(octets[: faults.random.randint(0, len(octets) - 6)])
        raise HungUp
    if faults.strike("client sends in pieces", 0.1):
        cut = faults.random.randint(1, len(octets) - 6)
        await client.send(octets[:cut])
        await trio.sleep(faults.seconds(60.0))
        octets = octets[cut:]
    attempt.fate = Fate.UNKNOWN
    await client.send(octets)
    if faults.strike("client hangs up after the dot", 0.05):
        await trio.sleep(faults.seconds(1.0))
        raise HungUp
    attempt.reply = await client.hear()
    attempt.fate = Fate.TAKEN if attempt.reply.startswith("2") else Fate.REFUSED
    if faults.strike("client hangs up without QUIT", 0.1):
        return
    await client.ask("QUIT")
