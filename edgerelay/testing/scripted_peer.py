"""A next hop that does as it is told: a table of replies and faults, and what it received.

It speaks SMTP or LMTP over any `Transport`: in memory under virtual time, through
`ScriptedNetwork`, or on real sockets, through `serve_tcp`. It is no server: it is strict
about the order of commands only where a client's mistakes would go unseen otherwise.

    peer = ScriptedPeer({"RCPT bob@example.org": "550 5.1.1 nobody", "dot": HANG})
    peer.replies["MAIL"] = ["451 4.3.0 later", "250 2.1.0 now"]     # one after the other
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Never

import trio

from edgerelay.net.reaper import Reaper
from edgerelay.net.socket_transport import SocketTransport
from edgerelay.net.transport import ConnectionLost, Transport, TransportError
from edgerelay.testing.memory_transport import memory_transport_pair


@dataclass(frozen=True, slots=True)
class Hang:
    """Says nothing for ever, and reads no more."""


@dataclass(frozen=True, slots=True)
class Drop:
    """Ends the connection: after ``reply`` if there is one, which is sent as it is."""

    reply: str = ""


@dataclass(frozen=True, slots=True)
class Late:
    """Replies after so many seconds."""

    seconds: float
    reply: str


@dataclass(frozen=True, slots=True)
class Raw:
    """Sends octets as they are: nonsense, halves of lines, two replies for one."""

    octets: bytes


HANG: Final = Hang()
DROP: Final = Drop()

#: A reply's text, possibly of many lines, without the last CRLF; or a fault.
Action = str | Hang | Drop | Late | Raw
#: Actions in a sequence are used up one by one; the last one stays.
Actions = Action | Sequence[Action]

_USUAL: Final[Mapping[str, str]] = {
    "greeting": "220 peer.example ready",
    "HELO": "250 peer.example",
    "STARTTLS": "220 2.0.0 go ahead",
    "MAIL": "250 2.1.0 sender fine",
    "RCPT": "250 2.1.5 recipient fine",
    "DATA": "354 go ahead",
    "dot": "250 2.0.0 taken",
    "RSET": "250 2.0.0 forgotten",
    "NOOP": "250 2.0.0 nothing",
    "QUIT": "221 2.0.0 bye",
}
EXTENSIONS: Final = ("PIPELINING", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", "SIZE 0")


@dataclass(frozen=True, slots=True)
class ReceivedMessage:
    """A message that the peer has said 250 to (in LMTP: to one of its recipients at least)."""

    mail: str  #: the MAIL command as it came
    rcpts: tuple[str, ...]  #: the RCPT commands that were accepted
    content: bytes  #: dots unstuffed
    connection: int  #: counted from 1
    encrypted: bool
    at: float  #: `trio.current_time()` of its final dot


@dataclass(eq=False)
class ScriptedPeer:
    """``replies`` may be changed while it runs. Keys: "greeting", the verbs, "dot" (the
    answer to the final dot), "content" (a fault before reading any), and, before those, a
    verb or "dot" with a recipient: "RCPT bob@example.org"."""

    replies: MutableMapping[str, Actions] = field(default_factory=dict)
    extensions: Sequence[str] = EXTENSIONS
    lmtp: bool = False
    tls: ssl.SSLContext | None = None  #: offered as STARTTLS
    implicit_tls: bool = False
    messages: list[ReceivedMessage] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)  #: of all connections, in order
    writes: list[bytes] = field(default_factory=list)  #: what each read gave, in the clear
    connections: int = 0
    open: int = 0

    @property
    def contents(self) -> list[bytes]:
        return [message.content for message in self.messages]

    async def serve(self, transport: Transport) -> None:
        """Hold one conversation, to its end. Raises nothing but cancellation."""
        self.connections += 1
        self.open += 1
        try:
            await _Conversation(self, transport, self.connections).run()
        except (TransportError, _Ended):
            pass
        finally:
            self.open -= 1
            transport.abort()

    def action(self, *keys: str) -> Action:
        """Return what the script says of the first key it knows, using it up."""
        for key in keys:
            actions = self.replies.get(key)
            if actions is None:
                continue
            if isinstance(actions, str | Hang | Drop | Late | Raw):
                return actions
            if len(actions) > 1:
                self.replies[key] = actions[1:]
            return actions[0]
        return self._usual(keys[-1])

    def _usual(self, key: str) -> str:
        if key in ("EHLO", "LHLO"):
            offers = ["peer.example", *self.extensions, *(["STARTTLS"] if self.tls else [])]
            return "\r\n".join([*(f"250-{one}" for one in offers[:-1]), f"250 {offers[-1]}"])
        return _USUAL.get(key, "500 5.5.1 what?")


class _Ended(Exception):
    """The script, or the client, wants no more."""


class _Conversation:
    def __init__(self, peer: ScriptedPeer, transport: Transport, number: int) -> None:
        self._peer = peer
        self._transport = transport
        self._number = number
        self._buffer = b""
        self._mail = ""
        self._rcpts: list[str] = []

    async def run(self) -> None:
        peer, transport = self._peer, self._transport
        if peer.implicit_tls and peer.tls is not None:
            await transport.start_tls(peer.tls, server_side=True)
        await self._do(peer.action("greeting"))
        while True:
            line = (await self._read_until(b"\r\n")).decode()
            peer.commands.append(line)
            await self._answer(line)

    async def _answer(self, line: str) -> None:
        verb = line.partition(" ")[0].upper()
        if verb == "MAIL":
            await self._answer_mail(line)
        elif verb == "RCPT":
            await self._answer_rcpt(line)
        elif verb == "DATA":
            await self._answer_data()
        elif verb == "BDAT":
            await self._answer_chunk(line)
        elif verb == "STARTTLS" and self._peer.tls is not None:
            await self._starttls(self._peer.tls)
        else:
            if verb in ("RSET", "EHLO", "LHLO", "HELO"):
                self._forget()
            await self._do(self._peer.action(verb))
            if verb == "QUIT":
                await self._transport.aclose(linger=False)
                raise _Ended

    async def _starttls(self, context: ssl.SSLContext) -> None:
        if _is_positive(await self._do(self._peer.action("STARTTLS"))):
            await self._transport.start_tls(context, server_side=True)

    async def _answer_mail(self, line: str) -> None:
        if self._mail:
            await self._do("503 5.5.1 nested MAIL")
        elif _is_positive(await self._do(self._peer.action("MAIL"))):
            self._mail = line

    async def _answer_rcpt(self, line: str) -> None:
        if not self._mail:
            await self._do("503 5.5.1 MAIL first")
        elif _is_positive(await self._do(self._peer.action(f"RCPT {_address(line)}", "RCPT"))):
            self._rcpts.append(line)

    async def _answer_data(self) -> None:
        none = "DATA" not in self._peer.replies and not self._rcpts
        said = await self._do(
            "554 5.5.1 no valid recipients" if none else self._peer.action("DATA")
        )
        if not said.startswith("354"):
            return
        if "content" in self._peer.replies:
            await self._do(self._peer.action("content"))
        await self._answer_content(await self._read_content())

    async def _answer_chunk(self, line: str) -> None:
        """BDAT with all of the message, as `ClientProtocol.bdat` says it (RFC 3030 section 2)."""
        _, size, last = line.split(" ")
        if last != "LAST":
            raise ValueError(f"one chunk at a time is too few: {line}")
        while len(self._buffer) < int(size):
            await self._fill()
        content, self._buffer = self._buffer[: int(size)], self._buffer[int(size) :]
        await self._answer_content(content)

    async def _answer_content(self, content: bytes) -> None:
        rcpts = [_address(line) for line in self._rcpts]
        # RFC 2033 section 4.2: LMTP answers for each recipient.
        keys = [(f"dot {rcpt}", "dot") for rcpt in rcpts] if self._peer.lmtp else [("dot",)]
        taken = False
        for key in keys:
            positive = _is_positive(await self._do(self._peer.action(*key)))
            if positive and not taken and self._rcpts:
                taken = True
                self._keep(content)
        self._forget()

    def _keep(self, content: bytes) -> None:
        self._peer.messages.append(
            ReceivedMessage(
                mail=self._mail,
                rcpts=tuple(self._rcpts),
                content=content,
                connection=self._number,
                encrypted=self._transport.tls is not None,
                at=trio.current_time(),
            )
        )

    def _forget(self) -> None:
        self._mail = ""
        self._rcpts = []

    async def _do(self, action: Action) -> str:
        """Act, and return the reply that was sent."""
        match action:
            case Hang():
                await trio.sleep_forever()
            case Drop(reply=reply):
                if reply:
                    await self._send(f"{reply}\r\n".encode())
                await self._transport.aclose(linger=False)
                raise _Ended
            case Late(seconds=seconds, reply=reply):
                await trio.sleep(seconds)
                await self._send(f"{reply}\r\n".encode())
                return reply
            case Raw(octets=octets):
                await self._send(octets)
                return octets.decode("latin-1") if octets.endswith(b"\r\n") else ""
            case str():
                await self._send(f"{action}\r\n".encode())
                return action

    async def _send(self, octets: bytes) -> None:
        await self._transport.send(octets)

    async def _read_content(self) -> bytes:
        if self._buffer.startswith(b".\r\n"):
            self._buffer = self._buffer[3:]
            return b""
        while not self._buffer and not self._buffer.startswith(b".\r\n"):
            await self._fill()
            if self._buffer.startswith(b".\r\n"):
                return await self._read_content()
        stuffed = await self._read_until(b"\r\n.\r\n") + b"\r\n"
        unstuffed = stuffed.replace(b"\r\n..", b"\r\n.")
        return unstuffed[1:] if unstuffed.startswith(b"..") else unstuffed

    async def _read_until(self, end: bytes) -> bytes:
        searched = 0
        while (found := self._buffer.find(end, searched)) < 0:
            searched = max(0, len(self._buffer) - len(end))
            await self._fill()
        read, self._buffer = self._buffer[:found], self._buffer[found + len(end) :]
        return read

    async def _fill(self) -> None:
        octets = await self._transport.receive()
        if not octets:
            raise _Ended
        self._peer.writes.append(octets)
        self._buffer += octets


def _address(line: str) -> str:
    return line.partition("<")[2].partition(">")[0]


def _is_positive(reply: str) -> bool:
    return reply.startswith("2")


class ScriptedNetwork:
    """Dials in memory: addresses have peers, or nobody listens. See `edgerelay.net` `Dialer`.

    A peer's conversations run in ``nursery``. ``blackholes`` are addresses where a
    connection is neither made nor refused.
    """

    def __init__(self, nursery: trio.Nursery, reaper: Reaper) -> None:
        self._nursery = nursery
        self._reaper = reaper
        self._peers: dict[tuple[str, int] | Path, ScriptedPeer] = {}
        self.blackholes: set[tuple[str, int] | Path] = set()
        self.dialled: list[tuple[str, int] | Path] = []
        self._ends: dict[tuple[str, int] | Path, list[Transport]] = {}

    def listen(self, address: tuple[str, int] | Path, peer: ScriptedPeer) -> None:
        self._peers[address] = peer

    def stop(self, address: tuple[str, int] | Path) -> None:
        """Nobody listens there any more; open connections end."""
        del self._peers[address]
        for end in self._ends.pop(address, []):
            end.abort()

    async def __call__(
        self, address: tuple[str, int] | Path, *, source: str | None, timeout: float
    ) -> Transport:
        self.dialled.append(address)
        await trio.lowlevel.checkpoint()
        if address in self.blackholes:
            await trio.sleep(timeout)
            raise ConnectionLost(f"no connection within {timeout:g} s")
        peer = self._peers.get(address)
        if peer is None:
            raise ConnectionLost("Connection refused")
        name = str(address) if isinstance(address, Path) else f"{address[0]}:{address[1]}"
        client, server = memory_transport_pair(self._reaper, server=name)
        self._ends.setdefault(address, []).append(server)
        self._nursery.start_soon(peer.serve, server)
        return client


async def serve_tcp(
    peer: ScriptedPeer,
    reaper: Reaper,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    task_status: trio.TaskStatus[tuple[str, int]] = trio.TASK_STATUS_IGNORED,
) -> Never:
    """Listen on a real socket until cancelled; starts with the address that was bound."""
    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(port, host=host)
        async with listener:
            bound = listener.socket.getsockname()
            task_status.started((bound[0], bound[1]))
            while True:
                stream = await listener.accept()
                sock = stream.socket
                # The transport owns the descriptor; Trio's wrapper must not close it.
                transport = SocketTransport(_detached(sock), reaper)
                nursery.start_soon(peer.serve, transport)
    raise AssertionError("unreachable")


def _detached(sock: trio.socket.SocketType) -> socket.socket:
    plain = socket.socket(fileno=sock.detach())
    plain.setblocking(False)
    return plain
