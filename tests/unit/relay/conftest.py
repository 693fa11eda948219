"""A relay in virtual time: memory transports, scripted hops, a spool in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import pytest
import trio
import trio.testing

from edgerelay.dns.answer import Answer, Status
from edgerelay.mail.address import ForwardPath, Mailbox, ReversePath
from edgerelay.mail.envelope import ClientFacts, Envelope, Notify, Recipient
from edgerelay.net.reaper import Reaper
from edgerelay.observe.events import Event
from edgerelay.relay.finding import Finder
from edgerelay.relay.relay import Relay
from edgerelay.relay.routing import Router
from edgerelay.relay.settings import HopKind, HopTls, NextHop, RelaySettings, RouteSettings
from edgerelay.relay.tls import ClientContexts
from edgerelay.runtime import inline
from edgerelay.spool import SqliteSpool, open_spool
from edgerelay.spool.api import Filter, NewDelivery, NewMessage, PendingDelivery, QueueId
from edgerelay.testing.scripted_peer import ScriptedNetwork, ScriptedPeer

BODY = b"Subject: hello\r\n\r\nHello there.\r\n"
EPOCH = 1_800_000_000.0

E = TypeVar("E", bound=Event)


class NoDns:
    """Knows no name: hops are literals here, and strangers' domains do not exist."""

    async def resolve(self, name: str, rdtype: str) -> Answer:
        return Answer(Status.NXDOMAIN, ttl=60.0)


def hop(kind: HopKind = HopKind.SMTP, host: str = "10.0.0.1", path: Path | None = None) -> NextHop:
    return NextHop(kind, path=path) if path else NextHop(kind, host=host, port=25)


@dataclass
class World:
    """Everything around a relay. ``spool`` outlives relays: `run_relay` may be used again."""

    settings: RelaySettings
    network: ScriptedNetwork
    contexts: ClientContexts | None = None
    spool: SqliteSpool = field(init=False)
    events: list[Event] = field(default_factory=list)
    jump: float = 0.0  #: of the wall clock

    def clock(self) -> float:
        return EPOCH + trio.current_time() + self.jump

    def peer(
        self, host: str = "10.0.0.1", replies: dict[str, object] | None = None, **more: object
    ) -> ScriptedPeer:
        """Have a scripted hop listen on port 25 of an address, or on a path."""
        peer = ScriptedPeer(replies or {}, **more)  # type: ignore[arg-type]  # as it comes
        self.network.listen(Path(host) if host.startswith("/") else (host, 25), peer)
        return peer

    @asynccontextmanager
    async def run_relay(self) -> AsyncIterator[Relay]:
        relay = Relay(
            self.settings,
            self.spool,
            Router(self.settings),
            Finder(NoDns(), self.settings.hostname, shuffle=lambda _: None),
            self.network,
            self.events.append,
            self.clock,
            run_blocking=inline,
            contexts=self.contexts,
        )
        async with trio.open_nursery() as nursery:
            nursery.start_soon(relay.run)
            await trio.testing.wait_all_tasks_blocked()
            yield relay
            nursery.cancel_scope.cancel()

    async def submit(
        self,
        *to: str,
        sender: str = "alice@example.net",
        content: bytes = BODY,
        notify: Notify | None = None,
        envelope: Envelope | None = None,
        lane: str | None = None,
        reason: str = "",
    ) -> QueueId:
        """Commit a message for these mailboxes, or for user@example.org."""
        router = Router(self.settings)
        by_lane: dict[str, list[Recipient]] = {}
        for address in to or ("user@example.org",):
            mailbox = Mailbox.from_text(address)
            spec = router.lane_of(mailbox, anywhere=True)
            assert spec is not None
            recipient = Recipient(ForwardPath(mailbox), notify)
            by_lane.setdefault(lane or spec.name, []).append(recipient)
        body = self.spool.new_content()
        if body.feed(content):
            await body.flush()
        path = ReversePath(Mailbox.from_text(sender) if sender else None)
        queue_id = self.spool.allocate_id()
        await self.spool.commit(
            NewMessage(
                queue_id,
                replace(envelope or Envelope(path), reverse_path=path),
                ClientFacts("192.0.2.1", "client.example", "ESMTP"),
                self.clock(),
                b"Received: from client.example\r\n",
                body,
                tuple(
                    NewDelivery(name, tuple(rcpts), reason=reason)
                    for name, rcpts in by_lane.items()
                ),
            )
        )
        return queue_id

    async def queue(self) -> list[PendingDelivery]:
        return list(await self.spool.find(Filter(), 10_000))

    def seen(self, kind: type[E]) -> list[E]:
        return [event for event in self.events if isinstance(event, kind)]


MakeWorld = Callable[..., AbstractAsyncContextManager[World]]


@pytest.fixture
def make_world() -> MakeWorld:
    """``async with make_world(hop(...), hop(...), retry=...) as world``: one route, to them.

    A test must ask for ``autojump_clock`` itself, or its hours last.
    """
    return _make_world


@asynccontextmanager
async def _make_world(
    *hops: NextHop,
    tls: HopTls = HopTls.OPPORTUNISTIC,
    contexts: ClientContexts | None = None,
    **settings: float | tuple[float, ...] | int,
) -> AsyncIterator[World]:
    route = RouteSettings(("example.org", "example.net"), hops or (hop(),), "any", tls)
    chosen = RelaySettings("relay.example.com", routes=(route,), **settings)  # type: ignore[arg-type]  # as they come
    async with AsyncExitStack() as stack:
        nursery = await stack.enter_async_context(trio.open_nursery())
        stack.callback(nursery.cancel_scope.cancel)
        reaper = Reaper()
        nursery.start_soon(reaper.run)
        network = ScriptedNetwork(nursery, reaper)
        world = World(chosen, network, contexts)
        world.spool = await stack.enter_async_context(
            open_spool(
                None,
                run_blocking=inline,
                clock=world.clock,
                observer=world.events.append,
            )
        )
        yield world
