"""An edge with everything around it in memory, and clients that talk to it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import trio

from edgerelay.edge.boundary import Deliverable
from edgerelay.edge.boundary import Refused as RecipientIsRefused
from edgerelay.edge.limits import ClientLimits
from edgerelay.edge.server import Edge
from edgerelay.edge.settings import EdgeSettings, ListenerSettings
from edgerelay.mail.address import ForwardPath, ReversePath
from edgerelay.mail.reply import Reply
from edgerelay.net.reaper import Reaper
from edgerelay.observe.events import Event
from edgerelay.pipeline import PolicySettings, Watchdog
from edgerelay.pipeline.policies import NO_POLICIES, Opened, Policies
from edgerelay.policy import Policy
from edgerelay.spool import SqliteSpool, open_memory_spool
from edgerelay.spool.api import NewMessage, PendingDelivery, SpoolError
from edgerelay.spool.disk import MemoryDisk
from edgerelay.testing.memory_transport import MemoryTransport, memory_transport_pair

UNKNOWN = Reply(550, "5.1.1", "No such recipient here")
LATER = Reply(451, "4.4.0", "Cannot ask the next hop now")
NO_RELAY = Reply(550, "5.7.1", "We do not relay there")


class Shelf:
    """A real spool in memory, which can be told to be slow or to fail."""

    def __init__(self, spool: SqliteSpool) -> None:
        self._spool = spool
        self.messages: list[NewMessage] = []
        self.contents: list[bytes] = []
        self.accepts_mail = True
        self.commit_error: SpoolError | None = None
        self.commit_takes = 0.0
        self.allocate_id = spool.allocate_id
        self.new_content = spool.new_content
        self.gauges = spool.gauges
        spool.on_committed = self._remember

    async def commit(self, message: NewMessage) -> None:
        await trio.lowlevel.checkpoint_if_cancelled()
        with trio.CancelScope(shield=True):
            await trio.sleep(self.commit_takes)
        if self.commit_error is not None:
            raise self.commit_error
        await self._spool.commit(message)
        self.messages.append(message)

    def _remember(self, deliveries: Sequence[PendingDelivery]) -> None:
        content = self._spool.whole(deliveries[0].message)
        self.contents.append(content or b"not in memory")


class Directory:
    """Who exists: everybody@example.org but nobody@; trusted clients may go anywhere."""

    def __init__(self) -> None:
        self.takes = 0.0
        self.asked: list[str] = []

    async def __call__(
        self, forward_path: ForwardPath, reverse_path: ReversePath, *, trusted: bool
    ) -> Deliverable | RecipientIsRefused:
        await trio.sleep(self.takes)
        mailbox = forward_path.mailbox
        self.asked.append(str(mailbox))
        if mailbox.local_part == "later":
            return RecipientIsRefused(LATER)
        if mailbox.local_part == "crash":
            raise LookupError("secret-table.db")
        if mailbox.local_part.startswith("nobody"):
            return RecipientIsRefused(UNKNOWN)
        if mailbox.domain_key not in ("example.org", "example.net") and not trusted:
            return RecipientIsRefused(NO_RELAY)
        return Deliverable(f"mx:{mailbox.domain_key}", route=mailbox.domain_key)


class Client:
    """A person at a terminal: says a line, reads a reply."""

    def __init__(self, transport: MemoryTransport) -> None:
        self.transport = transport
        self._buffer = b""

    async def say(self, *lines: str) -> None:
        await self.transport.send("".join(f"{line}\r\n" for line in lines).encode())

    async def raw(self, data: bytes) -> None:
        await self.transport.send(data)

    async def hear(self) -> str:
        """One whole reply, its lines joined by \\n; "" at the end of the stream."""
        lines: list[str] = []
        while True:
            while b"\r\n" not in self._buffer:
                data = await self.transport.receive()
                if not data:
                    assert (self._buffer, lines) == (b"", []), "ended inside a reply"
                    return ""
                self._buffer += data
            line, self._buffer = self._buffer.split(b"\r\n", 1)
            lines.append(line.decode())
            if line[3:4] != b"-":
                return "\n".join(lines)

    async def dialogue(self, script: str) -> None:
        """Play ``C:`` and ``S:`` lines; what S: says is a regular expression from the start."""
        for number, raw in enumerate(script.strip().splitlines(), 1):
            side, _, text = raw.strip().partition(" ")
            if side == "C:":
                await self.say(text)
            elif side == "S:":
                heard = await self.hear()
                assert re.match(text, heard), f"line {number}: {heard!r} is not {text!r}"
            else:
                assert not side, f"line {number}: who says {raw!r}?"

    async def is_hung_up(self) -> bool:
        return await self.hear() == ""

    async def send_mail(self, content: str = "Subject: x\r\n\r\nhello\r\n") -> str:
        """A whole transaction after EHLO; returns the reply to the final dot."""
        await self.say("MAIL FROM:<a@example.com>", "RCPT TO:<b@example.org>", "DATA")
        for _ in range(3):
            last = await self.hear()
        assert last.startswith("354"), last
        await self.raw(f"{content}.\r\n".encode())
        return await self.hear()


@dataclass
class World:
    nursery: trio.Nursery
    reaper: Reaper
    spool: Shelf
    disk: MemoryDisk
    settings: EdgeSettings = field(default_factory=lambda: EdgeSettings("mx.example.org"))
    listener: ListenerSettings = field(default_factory=lambda: ListenerSettings("test"))
    directory: Directory = field(default_factory=Directory)
    events: list[Event] = field(default_factory=list)
    policies: Policies = NO_POLICIES
    _edge: Edge | None = None

    @property
    def edge(self) -> Edge:
        """Made when it is first asked for: settings are changed before."""
        if self._edge is None:
            self._edge = Edge(
                self.settings,
                self.spool,  # type: ignore[arg-type]  # the part of it that a session sees
                self.directory,
                self.events.append,
                wall_clock,
                ClientLimits(self.settings),
                self.reaper,
                self.policies,
                lambda hops: f"policy:{hops[0]}" if hops[0].startswith("smtp:") else None,
            )
        return self._edge

    def police(self, *policies: Policy[None], **settings: Any) -> None:
        """Let these be asked, in this order; ``settings`` are those of all their tables."""
        watchdog = Watchdog()
        self.nursery.start_soon(watchdog.run)
        opened = [
            Opened(PolicySettings("test", f"p{index}", **settings), type(policy), policy)
            for index, policy in enumerate(policies)
        ]
        self.policies = Policies(opened, watchdog)

    def set(self, **changes: Any) -> None:
        self.settings = replace(self.settings, **changes)

    def connect(self, peer: str = "192.0.2.1:4711", *, capacity: int = 65536) -> Client:
        ours, theirs = memory_transport_pair(self.reaper, client=peer, capacity=capacity)
        self.nursery.start_soon(self.edge.run_session, theirs, self.listener)
        return Client(ours)

    async def greeted(self, peer: str = "192.0.2.1:4711") -> Client:
        """A client that has said EHLO."""
        client = self.connect(peer)
        assert (await client.hear()).startswith("220 mx.example.org ESMTP")
        await client.say("EHLO client.example")
        assert (await client.hear()).startswith("250-mx.example.org")
        return client

    def told(self, kind: type[Event]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    async def assert_no_content(self) -> None:
        assert (await self.spool.gauges()).in_flight == 0
        assert self.edge.gauges()["content"] == 0

    async def assert_nothing_leaks(self) -> None:
        assert (await self.spool.gauges()).in_flight == 0
        assert not any(self.edge.gauges().values())


def wall_clock() -> float:
    return 1_700_000_000.0 + trio.current_time()


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """For tests that ask for `autojump_clock` too: only the test itself can choose its clock."""
    reaper, disk, events = Reaper(), MemoryDisk(), list[Event]()
    async with (
        trio.open_nursery() as services,
        open_memory_spool(clock=wall_clock, observer=events.append, disk=disk) as spool,
    ):
        services.start_soon(reaper.run)
        async with trio.open_nursery() as sessions:
            world = World(sessions, reaper, Shelf(spool), disk, events=events)
            yield world
            sessions.cancel_scope.cancel()
        await world.assert_nothing_leaks()
        services.cancel_scope.cancel()
