"""Next hops: they take, defer, refuse, hang, hang up, talk nonsense, and remember."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import trio

from edgerelay.net.transport import ConnectionLost, Transport, TransportError
from edgerelay.testing.memory_transport import MemoryTransport
from edgerelay.testing.simulation.faults import Faults
from edgerelay.testing.simulation.process import Process

#: Seconds of delay after which a client may have gone without our answer.
LONG: Final = 20.0


@dataclass(frozen=True, slots=True)
class Taken:
    """A hop has answered 250 for a recipient, or was about to."""

    rcpt: str
    content: bytes
    is_certain: bool  #: the client can be expected to have read it


@dataclass(eq=False)
class SimulatedHop:
    """``keeps`` recipients whose local part says so busy or unknown, whatever the weather."""

    name: str
    faults: Faults
    lmtp: bool = False
    is_up: bool = True
    taken: list[Taken] = field(default_factory=list)
    conversations: set[_Conversation] = field(default_factory=set)

    def down(self) -> None:
        self.is_up = False
        for conversation in list(self.conversations):
            conversation.reset()

    async def serve(self, transport: MemoryTransport) -> None:
        conversation = _Conversation(self, transport)
        self.conversations.add(conversation)
        try:
            await conversation.run()
        except _HungUp:
            conversation.reset()
        except TransportError:
            pass
        finally:
            transport.abort()
            self.conversations.discard(conversation)

    def doubt(self, numbers: Iterable[int]) -> None:
        """Who gave us these may not know that we have them."""
        for number in numbers:
            self.taken[number] = replace(self.taken[number], is_certain=False)


class _HungUp(TransportError):
    """The hop ends the connection."""


class _Conversation:
    def __init__(self, hop: SimulatedHop, transport: Transport) -> None:
        self._hop = hop
        self._faults = hop.faults
        self._transport = transport
        self._has_mail = False
        self._last: list[int] = []  # what was taken of the last message
        self._rcpts: list[str] = []

    def reset(self) -> None:
        """End it from our side; with it goes what the client has not read."""
        self._hop.doubt(self._last)
        self._transport.abort()

    async def run(self) -> None:
        await self._say("greeting", b"220 hop.test ESMTP\r\n")
        lines = _Lines(self._transport)
        async for line in lines:
            verb = line[:4].upper()
            if verb in (b"EHLO", b"LHLO"):
                extensions = b"250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 DSN\r\n"
                await self._say("EHLO", b"250-hop.test\r\n" + extensions)
            elif verb == b"MAIL":
                self._rcpts = []
                self._has_mail = await self._say("MAIL", b"250 ok\r\n")
            elif verb == b"RCPT":
                await self._recipient(line)
            elif verb == b"DATA":
                await self._data(lines)
            elif verb == b"QUIT":
                await self._transport.send(b"221 bye\r\n")
                return
            else:
                await self._say("RSET", b"250 ok\r\n")

    async def _say(self, moment: str, reply: bytes) -> bool:
        """Whether that reply was said; another one may be, or none, or late."""
        faults = self._faults
        if faults.strike(f"hop hangs up: {moment}", 0.01):
            raise _HungUp
        if faults.strike(f"hop hangs: {moment}", 0.004):
            await trio.sleep(1200)
            raise _HungUp
        if faults.strike("hop is slow", 0.06):
            await trio.sleep(faults.seconds(100.0))
        if faults.strike(f"hop talks nonsense: {moment}", 0.004):
            reply = b"2x0 \xff\r\n"
        elif faults.strike(f"hop defers: {moment}", 0.015):
            reply = b"451 4.3.0 not now\r\n"
        elif faults.strike(f"hop refuses: {moment}", 0.004):
            reply = b"554 5.0.0 never\r\n"
        else:
            await self._transport.send(reply)
            return True
        await self._transport.send(reply)
        return False

    async def _recipient(self, line: bytes) -> None:
        match = re.search(rb"<([^>]*)>", line)
        rcpt = match[1].decode() if match else ""
        if not self._has_mail:
            await self._transport.send(b"503 5.5.1 MAIL first\r\n")
        elif rcpt.startswith("unknown"):
            await self._transport.send(b"550 5.1.1 nobody of that name\r\n")
        elif rcpt.startswith("full") and self._faults.strike("mailbox full", 0.3):
            await self._transport.send(b"452 4.2.2 mailbox full\r\n")
        elif await self._say("RCPT", b"250 ok\r\n"):
            self._rcpts.append(rcpt)

    async def _data(self, lines: _Lines) -> None:
        if not self._rcpts:
            await self._transport.send(b"503 5.5.1 no recipients\r\n")
            return
        if not await self._say("DATA", b"354 go on\r\n"):
            return
        content = bytearray()
        async for line in lines:
            if line == b".":
                break
            content += line.removeprefix(b".") + b"\r\n"
        else:
            return
        self._last = []
        if not self._hop.lmtp:
            await self._after_the_dot(self._rcpts, bytes(content))
            return
        for rcpt in self._rcpts:
            await self._after_the_dot([rcpt], bytes(content))

    async def _after_the_dot(self, rcpts: list[str], content: bytes) -> None:
        faults = self._faults
        if faults.strike("hop hangs up before it takes", 0.01):
            raise _HungUp
        if faults.strike("hop defers after the dot", 0.02):
            await self._transport.send(b"451 4.3.0 not now\r\n")
            return
        if faults.strike("hop refuses after the dot", 0.01):
            await self._transport.send(b"554 5.7.1 not this one\r\n")
            return
        hangs_up = faults.strike("hop takes and hangs up", 0.015)
        delay = 0.0
        if faults.strike("hop takes and is slow to say so", 0.05):
            delay = faults.seconds(900.0)
        is_certain = not hangs_up and delay < LONG
        numbers = range(len(self._hop.taken), len(self._hop.taken) + len(rcpts))
        self._hop.taken += [Taken(rcpt, content, is_certain) for rcpt in rcpts]
        self._last += numbers
        if hangs_up:
            raise _HungUp
        try:
            await trio.sleep(delay)
            await self._transport.send(b"250 2.0.0 taken\r\n")
        except TransportError:
            self._hop.doubt(numbers)
            raise


class _Lines:
    """No generator, which may be left half-way."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._buffer = b""
        self._lines: Iterator[bytes] = iter(())

    def __aiter__(self) -> _Lines:
        return self

    async def __anext__(self) -> bytes:
        while (line := next(self._lines, None)) is None:
            if not (data := await self._transport.receive(1 << 20)):
                raise StopAsyncIteration
            *lines, self._buffer = (self._buffer + data).split(b"\r\n")
            self._lines = iter(lines)
        return line


class SimulatedNetwork:
    """Dials for one process. ``hops`` by address."""

    def __init__(
        self, process: Process, hops: dict[tuple[str, int], SimulatedHop], nursery: trio.Nursery
    ) -> None:
        self._process = process
        self._hops = hops
        self._nursery = nursery

    async def __call__(
        self, address: tuple[str, int] | Path, *, source: str | None, timeout: float
    ) -> Transport:
        await trio.lowlevel.checkpoint()
        assert not isinstance(address, Path)  # noqa: S101 - no route leads to one
        hop = self._hops.get(address)
        faults = self._process.faults
        if faults.strike("no answer to SYN", 0.01):
            await trio.sleep(timeout)
            raise ConnectionLost(f"no connection within {timeout:g} s")
        if hop is None or not hop.is_up or faults.strike("connection refused", 0.03):
            raise ConnectionLost("Connection refused")
        theirs, ours = self._process.pair()
        self._nursery.start_soon(hop.serve, theirs)
        return ours
