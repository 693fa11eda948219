"""A whole relay in virtual time: a configuration, a DNS, next hops, and clients that talk to it.

Everything of it is the real thing but the world: sessions over memory transports, the spool
in memory, delivery to scripted hops. Days pass in milliseconds, because nothing in here works
in a thread, a process or a socket.
"""

from __future__ import annotations

import itertools
import ssl
import tomllib
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from datetime import datetime
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import trio
from trio.testing import wait_all_tasks_blocked

from edgerelay.assembly import Ground, assemble
from edgerelay.census import known, strays
from edgerelay.config import Config, ConfigError, parse
from edgerelay.dns.caching import CachingResolver
from edgerelay.edge.settings import ListenerSettings, ListenerTls
from edgerelay.net.reaper import Reaper
from edgerelay.net.tls import ServerTls, server_context
from edgerelay.observe.events import Event
from edgerelay.pipeline.loading import at_hand
from edgerelay.policy import Policy
from edgerelay.relay.tls import ClientContexts
from edgerelay.runtime import inline
from edgerelay.spool import SqliteSpool, open_memory_spool, open_spool
from edgerelay.spool.api import Filter, PendingDelivery, SpoolUnavailable
from edgerelay.spool.disk import MemoryDisk
from edgerelay.tables.memory import MemoryTables
from edgerelay.testing.client import Sent, SmtpClient
from edgerelay.testing.hops import Hop, attach, hops_of
from edgerelay.testing.lending import Lending
from edgerelay.testing.literal_dns import LiteralResolver, Zone
from edgerelay.testing.memory_transport import memory_transport_pair
from edgerelay.testing.scripted_peer import ReceivedMessage, ScriptedNetwork
from edgerelay.testing.services import Address, Scanner
from edgerelay.testing.usual import HOSTNAME, MESSAGE
from edgerelay.testing.virtual_time import START, WallClock, require_virtual_time, wait

_PORTS: Final = 40_000  #: the first port a client connects from
_ALL: Final = 1_000_000

E = TypeVar("E", bound=Event)


class RelayHarness:
    """``async with RelayHarness(CONFIG) as relay:`` is a relay at work, until the block ends.

    ``config`` is the text of a configuration file, read and checked as `edgerelay serve` does;
    what it says of processes, sockets and the state directory has no effect here. ``zone`` is
    all of the DNS. ``hops`` says how next hops behave: each that a route names by its address
    is there and takes everything unless it is given here; a domain's MX host is there only if
    it is. ``policies`` are classes by the names that ``use`` calls them, besides those that
    are installed; ``scanners`` answer at the addresses that policies connect to. ``start`` is
    the wall clock's time when the block begins. ``trust`` has the client side's TLS contexts;
    without them no certificate of a hop is good.

    Raises ConfigError; RuntimeError unless time is virtual. Leaving the block stops the relay
    and raises AssertionError if a session or a content outlived it.
    """

    def __init__(
        self,
        config: str,
        *,
        zone: Zone | None = None,
        hops: Mapping[str, Hop] | None = None,
        policies: Mapping[str, type[Policy[Any]]] | None = None,
        scanners: Mapping[Address, Scanner] | None = None,
        start: float | datetime = START,
        trust: ClientContexts | None = None,
    ) -> None:
        self._at_hand = dict(policies or {})
        with at_hand(self._at_hand):
            self.config: Final = _config(config)
        self.zone: Final = dict(zone or {})
        #: By ``host:port`` as in a ``next_hop``, or the path of a socket.
        self.hops: Final = hops_of(self.config.relay(), hops or {})
        self.events: Final[list[Event]] = []
        self.disk: Final = MemoryDisk()
        self._scanners = dict(scanners or {})
        self._start = start
        self._trust = trust or _nobody()
        self._ports = itertools.count(_PORTS)
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        require_virtual_time()
        self.now = WallClock(self._start)  #: the wall clock: seconds since the epoch
        try:
            await self._assemble()
            await wait_all_tasks_blocked()
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # The block's own exception goes its way: a nursery would wrap it in a group.
        await self._close()
        if error is None:
            self._assert_nothing_left()

    # --- clients ---------------------------------------------------------------------------

    def connect(self, client: str = "192.0.2.1", *, listener: int = 0) -> SmtpClient:
        """Return a client of that address, connected to one of the listeners."""
        peer = f"[{client}]" if ":" in client else client
        settings = self._listeners[listener]
        ours, theirs = memory_transport_pair(
            self._reaper, client=f"{peer}:{next(self._ports)}", server=settings.name
        )
        ours.deadline = float("inf")
        self._sessions.start_soon(self._edge.run_session, theirs, settings)
        return SmtpClient(ours)

    async def send(
        self,
        *,
        client: str = "192.0.2.1",
        helo: str = "client.example",
        mail_from: str = "ann@sender.example",
        rcpt_to: str | Sequence[str] = "bob@example.com",
        message: bytes = MESSAGE,
        parameters: Mapping[str, str] | None = None,
        listener: int = 0,
    ) -> Sent:
        """Send a message as a plain client does, and return what the client heard.

        ``mail_from`` "" is the null reverse-path. ``parameters`` are those of MAIL. Returns
        when nothing more can happen without time passing: what a hop takes at once is in
        `delivered`.
        """
        sent = await self.connect(client, listener=listener).send_message(
            helo=helo,
            mail_from=mail_from,
            rcpt_to=[rcpt_to] if isinstance(rcpt_to, str) else rcpt_to,
            message=message,
            parameters=parameters or {},
        )
        await wait_all_tasks_blocked()
        return sent

    # --- time, and what came of it ---------------------------------------------------------

    async def wait(
        self, *, days: float = 0, hours: float = 0, minutes: float = 0, seconds: float = 0
    ) -> None:
        """Let so much time pass, and then everything happen that is due at that moment."""
        await wait(days=days, hours=hours, minutes=minutes, seconds=seconds)

    @property
    def delivered(self) -> dict[str, list[ReceivedMessage]]:
        """What each hop took, oldest first."""
        return {key: hop.messages for key, hop in self.hops.items()}

    def told(self, kind: type[E]) -> list[E]:
        """The events of one kind, in their order."""
        return [event for event in self.events if isinstance(event, kind)]

    async def queue(self) -> list[PendingDelivery]:
        """What waits in the spool, or is held there."""
        return list(await self._spool.find(Filter(), _ALL))

    # --- the parts -------------------------------------------------------------------------

    async def _assemble(self) -> None:
        """The blocks of `edgerelay.app.work`, in its order."""
        stack, config, observer = self._stack, self.config, self.events.append
        self._spool: SqliteSpool = await stack.enter_async_context(
            open_memory_spool(
                clock=self.now,
                observer=observer,
                disk=self.disk,
                min_free_space=config.min_free_space,
            )
        )
        services = await self._nursery()
        self._reaper = Reaper()
        services.start_soon(self._reaper.run)
        network = ScriptedNetwork(services, self._reaper)
        attach(self.hops, network, self.zone)
        resolver = CachingResolver(
            LiteralResolver(self.zone), services, timeout=config.dns_timeout, observer=observer
        )
        tables = MemoryTables(self.now)
        lend = Lending(
            config.hostname, resolver, tables, self.now, observer, services, self._scanners
        )
        ground = Ground(
            clock=self.now,
            observer=observer,
            run_blocking=inline,
            reaper=self._reaper,
            dialer=network,
            resolver=resolver,
            tables=tables,
            lend=lend,
            open_shard=_no_shard,
            shuffle=lambda exchangers: None,
            contexts=self._trust,
        )
        assembling = assemble(
            config.edge(), config.relay(), config.policies, "0", self._spool, ground
        )
        with at_hand(self._at_hand):
            station = await stack.enter_async_context(assembling)
        self._station, self._edge = station, station.edge
        self._listeners = _listeners(config)
        (await self._nursery()).start_soon(station.shards.run)
        self._sessions = await self._nursery()

    async def _nursery(self) -> trio.Nursery:
        """Open one for as long as the harness: leaving it cancels what runs in it."""
        nursery = known(await self._stack.enter_async_context(trio.open_nursery()), "services")
        self._stack.callback(nursery.cancel_scope.cancel)
        return nursery

    async def _close(self) -> None:
        await self._stack.__aexit__(None, None, None)

    def _assert_nothing_left(self) -> None:
        left = {name: count for name, count in self._station.gauges().items() if count}
        if left:
            raise AssertionError(f"something outlived who opened it: {left}, tasks: {strays()}")


def _no_shard(name: str) -> open_spool:
    raise SpoolUnavailable(f"{name}: this relay has one shard")


def _config(text: str) -> Config:
    octets, origin = text.encode(), "edgerelay.toml"
    with suppress(ConfigError, tomllib.TOMLDecodeError):
        named = "hostname" in tomllib.loads(text)
        return parse(octets if named else f'hostname = "{HOSTNAME}"\n'.encode() + octets, origin)
    return parse(octets, origin)  # raises again, with the lines of what was written


def _listeners(config: Config) -> list[ListenerSettings]:
    files = config.tls_files
    return [
        replace(settings, certificate=ServerTls(server_context(files, ask_clients=asks)))
        if files and settings.tls is not ListenerTls.OFF
        else settings
        for settings, asks in ((each, each.asks_for_certificate) for each in config.listeners)
    ]


def _nobody() -> ClientContexts:
    """Contexts that know no certificate authority: made without reading a file."""
    any_certificate = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    any_certificate.check_hostname = False
    any_certificate.verify_mode = ssl.CERT_NONE
    return ClientContexts(any_certificate, ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
