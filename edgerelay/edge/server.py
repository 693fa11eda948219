"""Accepts connections and runs a session for each, all in one nursery.

Nothing a session does ends another: what escapes it becomes an event. Who opens the
listening sockets, and how long a drain may take, is the owner's.
"""

from __future__ import annotations

import errno
import socket
from typing import Final, Never

import trio
from trio.lowlevel import ParkingLot, wait_readable

from edgerelay.edge.boundary import Recipients, RouteTo, no_route
from edgerelay.edge.limits import ClientLimits
from edgerelay.edge.session import Session
from edgerelay.edge.settings import EdgeSettings, ListenerSettings
from edgerelay.edge.shared import Shared
from edgerelay.net.endpoint import endpoint_text
from edgerelay.net.reaper import Reaper
from edgerelay.net.socket_transport import SocketTransport
from edgerelay.net.transport import Transport
from edgerelay.observe.escape import escape
from edgerelay.observe.events import Observer, Trouble
from edgerelay.pipeline.policies import NO_POLICIES, Policies
from edgerelay.runtime import Clock
from edgerelay.spool.api import Spool

#: So many connections are accepted before sessions have their turn.
_AT_ONCE: Final = 64
#: Of file descriptors or memory there is none: wait for sessions to end, in seconds.
_BACK_OFF: Final = 0.25
_EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class Edge:
    """The inbound side of one process. The owner runs ``reaper.run`` beside it."""

    def __init__(
        self,
        settings: EdgeSettings,
        spool: Spool,
        recipients: Recipients,
        observer: Observer,
        clock: Clock,
        limits: ClientLimits,
        reaper: Reaper,
        policies: Policies = NO_POLICIES,
        route_to: RouteTo = no_route,
    ) -> None:
        self._shared = Shared(
            settings, spool, recipients, observer, clock, limits, policies, route_to
        )
        self._reaper = reaper
        self._sessions: set[Session] = set()
        self._accepted = 0  # connections that hold a place, their session begun or not
        self._room = ParkingLot()

    def gauges(self) -> dict[str, int]:
        """Counts at this moment; ``content`` is in octets that are neither ours nor refused."""
        return {
            "sessions": len(self._sessions),
            "transactions": self._shared.transactions,
            "content": self._shared.content,
        }

    @property
    def is_stopping(self) -> bool:
        return self._shared.stopping

    async def accept(
        self, sock: socket.socket, listener: ListenerSettings, sessions: trio.Nursery
    ) -> Never:
        """Accept from a listening, non-blocking socket until cancelled.

        At the cap of ``connections`` it stops accepting: the kernel's queue and the other
        workers take what comes.
        """
        most = self._shared.settings.connections
        if sock.family != socket.AF_UNIX:  # what is accepted from it inherits that
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while True:
            if self._accepted >= most:
                await self._room.park()
                continue
            await wait_readable(sock)
            for _ in range(min(_AT_ONCE, most - self._accepted)):
                try:
                    connection, address = sock.accept()
                except BlockingIOError:
                    break
                except OSError as error:
                    await self._survive(error)
                    break
                self._accepted += 1
                sessions.start_soon(self._run_accepted, connection, address, listener)

    async def run_session(self, transport: Transport, listener: ListenerSettings) -> None:
        """Serve one connection to its end. Raises nothing but Cancelled."""
        session = Session(self._shared, transport, listener)
        self._sessions.add(session)
        try:
            await session.run()
        except Exception as error:  # while cleaning up: it must not end the other sessions
            detail = escape(f"{type(error).__name__}: {error}", 500)
            self._shared.observer(Trouble(where="edge", what="session left a mess", detail=detail))
        finally:
            transport.abort()
            self._sessions.discard(session)

    def stop(self) -> None:
        """From now on who has no transaction open hears 421; the others, after theirs."""
        self._shared.stopping = True
        for session in list(self._sessions):
            session.stop()

    async def _run_accepted(
        self, sock: socket.socket, address: object, listener: ListenerSettings
    ) -> None:
        try:
            transport = self._transport(sock, address)
            if transport is not None:
                await self.run_session(transport, listener)
        finally:
            self._accepted -= 1
            self._room.unpark()

    def _transport(self, sock: socket.socket, address: object) -> SocketTransport | None:
        try:
            sock.setblocking(False)
            peer = endpoint_text(sock.family, address)
            return SocketTransport(sock, self._reaper, peer=peer)
        except OSError:  # reset before we could look at it
            sock.close()
            return None

    async def _survive(self, error: OSError) -> None:
        # Anything else is about one connection that has gone already (accept(2)).
        if error.errno in _EXHAUSTED:
            detail = error.strerror or ""
            self._shared.observer(Trouble(where="edge", what="cannot accept", detail=detail))
            await trio.sleep(_BACK_OFF)
