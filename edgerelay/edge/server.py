"""Accepts connections and runs a session for each, all in one nursery.

Nothing a session does ends another: what escapes it becomes an event. Who opens the
listening sockets, and how long a drain may take, is the owner's.
"""

from __future__ import annotations

import errno
import socket
from typing import Final, Never

import trio
from trio.lowlevel import wait_readable

from edgerelay.edge.boundary import Recipients, RouteTo, no_route
from edgerelay.edge.door import Door, patience_of, patience_under_stress, turn_away
from edgerelay.edge.limits import ClientLimits
from edgerelay.edge.session import Session
from edgerelay.edge.settings import EdgeSettings, ListenerSettings, ListenerTls
from edgerelay.edge.shared import Shared
from edgerelay.net.endpoint import endpoint_text
from edgerelay.net.reaper import Reaper
from edgerelay.net.socket_transport import SocketTransport
from edgerelay.net.transport import Transport
from edgerelay.observe.escape import escape
from edgerelay.observe.events import Observer, Stress, Trouble, TurnedAway
from edgerelay.pipeline.policies import NO_POLICIES, Policies
from edgerelay.runtime import Clock
from edgerelay.spool.api import Spool

#: So many connections are accepted before sessions have their turn.
_AT_ONCE: Final = 64
#: Of file descriptors or memory there is none: wait for sessions to end, in seconds.
_BACK_OFF: Final = 0.25
#: Seconds between two lines that say so.
_SAY_SO_EVERY: Final = 10.0
#: Seconds at the cap before the next ones are turned away: another worker may have room.
_FULL_FOR: Final = 0.25
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
        self._door = Door(settings.connections, self._on_stress)
        self._said_so = float("-inf")  # that nothing can be accepted

    def gauges(self) -> dict[str, int]:
        """Counts at this moment.

        ``content`` is in octets that are neither ours nor refused; ``content_in_memory`` those
        of them that are in no file. ``stress`` is 1 while waits are short.
        """
        return {
            "sessions": len(self._sessions),
            "transactions": self._shared.transactions,
            "content": self._shared.content,
            "content_in_memory": self._shared.buffered,
            "stress": int(self._shared.patience.is_short),
        }

    @property
    def is_stopping(self) -> bool:
        return self._shared.stopping

    async def accept(
        self, sock: socket.socket, listener: ListenerSettings, sessions: trio.Nursery
    ) -> Never:
        """Accept from a listening, non-blocking socket until cancelled.

        At the cap of ``connections`` the kernel's queue and the other workers take what comes;
        who still waits after that hears 421.
        """
        door = self._door
        if sock.family != socket.AF_UNIX:  # what is accepted from it inherits that
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while True:
            if not door.left:
                await door.wait(_FULL_FOR)
                if not door.left:
                    await self._turn_away(sock, listener)
                continue
            await wait_readable(sock)
            for _ in range(min(_AT_ONCE, door.left)):
                accepted = await self._accept(sock)
                if accepted is None:
                    break
                door.enter()
                sessions.start_soon(self._run_accepted, *accepted, listener)

    async def _accept(self, sock: socket.socket) -> tuple[socket.socket, object] | None:
        try:
            return sock.accept()
        except BlockingIOError:
            return None
        except OSError as error:
            await self._survive(error)
            return None

    async def _turn_away(self, sock: socket.socket, listener: ListenerSettings) -> None:
        for _ in range(_AT_ONCE):
            accepted = await self._accept(sock)
            if accepted is None:
                return
            connection, address = accepted
            client = endpoint_text(connection.family, address)
            turn_away(
                connection,
                self._shared.settings.hostname,
                speaks_tls=listener.tls is ListenerTls.IMPLICIT,
            )
            self._shared.observer(TurnedAway(client=client, listener=listener.name, why="full"))

    def _on_stress(self, is_on: bool) -> None:
        shared, settings = self._shared, self._shared.settings
        shared.patience = patience_under_stress(settings) if is_on else patience_of(settings)
        taken = self._door.taken
        shared.observer(Stress(is_on=is_on, connections=taken, at_most=settings.connections))
        if is_on:
            for session in list(self._sessions):
                session.hurry()

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
            self._door.leave()

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
            now = trio.current_time()
            if now - self._said_so >= _SAY_SO_EVERY:
                self._said_so = now
                detail = error.strerror or ""
                self._shared.observer(Trouble(where="edge", what="cannot accept", detail=detail))
            await trio.sleep(_BACK_OFF)
