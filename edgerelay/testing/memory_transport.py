"""Two ends of a stream that lives in memory: the same promises as a socket, in virtual time.

TLS is real: OpenSSL works on memory, so truncation and refused handshakes can be tested.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Callable

from trio.lowlevel import ParkingLot, checkpoint

from edgerelay.net.reaper import Reaper
from edgerelay.net.socket_transport import facts_of
from edgerelay.net.transport import ConnectionLost, DeadlinePassed, TlsFacts


class _Pipe:
    """One direction."""

    def __init__(self, capacity: int) -> None:
        self.buffer = bytearray()
        self.capacity = capacity
        self.ended = False  #: nothing follows what is in the buffer
        self.broken = False  #: an end has gone without ceremony
        self.readers = ParkingLot()
        self.writers = ParkingLot()

    def wake(self) -> None:
        self.readers.unpark_all()
        self.writers.unpark_all()

    def end(self) -> None:
        self.ended = True
        self.wake()

    def break_(self) -> None:
        self.broken = True
        self.wake()


class MemoryTransport:
    """One end; see `memory_transport_pair`."""

    def __init__(self, incoming: _Pipe, outgoing: _Pipe, local: str, peer: str) -> None:
        self.deadline = float("inf")
        self.local = local
        self.peer = peer
        self.tls: TlsFacts | None = None
        self._incoming = incoming
        self._outgoing = outgoing
        self._closed = False
        self._expiries = 0
        self._reaper: Reaper | None = None
        self._session: _TlsSession | None = None
        self._lost: Callable[[], None] | None = None
        self._may_end = False

    @property
    def is_closed(self) -> bool:
        return self._closed

    async def receive(self, limit: int = 64 * 1024) -> bytes:
        if self._session is not None:
            return await self._session.receive(self, limit)
        return await self.receive_raw(limit)

    async def send(self, data: bytes) -> None:
        if self._session is not None:
            data = self._session.encrypt(data)
        await self.send_raw(data)

    async def start_tls(
        self, context: ssl.SSLContext, *, server_side: bool, server_hostname: str | None = None
    ) -> None:
        try:
            session = _TlsSession(context, server_side, server_hostname)
            await session.handshake(self)
        except (ssl.SSLError, ValueError) as error:
            self.abort()
            raise ConnectionLost(f"TLS: {error}") from None
        except (ConnectionLost, DeadlinePassed):
            self.abort()
            raise
        self._session = session
        self.tls = facts_of(session.object)

    async def receive_raw(self, limit: int = 64 * 1024) -> bytes:
        """What came, without looking into TLS."""
        pipe = self._incoming
        if pipe.buffer or pipe.ended or pipe.broken or self._closed:
            await checkpoint()  # there will be no other
        while True:
            if self._closed or pipe.broken:
                raise ConnectionLost("closed here" if self._closed else "connection reset")
            if pipe.buffer:
                data = bytes(pipe.buffer[:limit])
                del pipe.buffer[:limit]
                pipe.writers.unpark_all()
                return data
            if pipe.ended:
                return b""
            await self._park(pipe.readers)

    async def send_raw(self, data: bytes) -> None:
        """Put octets on the wire as they are."""
        pipe, rest = self._outgoing, memoryview(data)
        while True:
            if self._closed or pipe.broken or pipe.ended:
                raise ConnectionLost("closed here" if self._closed else "connection reset")
            room = max(0, pipe.capacity - len(pipe.buffer))
            if rest and room:
                pipe.buffer += rest[:room]
                rest = rest[room:]
                pipe.readers.unpark_all()
            if not rest:
                return
            await self._park(pipe.writers)

    async def _park(self, lot: ParkingLot) -> None:
        seen = self._expiries
        await lot.park()
        if self._expiries != seen and not self._closed:
            raise DeadlinePassed(f"no progress from {self.peer}")

    def watch(self, reaper: Reaper) -> None:
        """Have ``reaper`` look at our deadline until we are closed."""
        self._reaper = reaper
        reaper.add(self)

    def expire(self) -> None:
        self._expiries += 1
        self._incoming.readers.unpark_all()
        self._outgoing.writers.unpark_all()

    def attend(self, lost: Callable[[], None], *, may_end: bool = False) -> None:
        if not self._closed and self._reaper is not None:
            self._lost, self._may_end = lost, may_end
            self._reaper.attend(self)

    def unattend(self) -> None:
        self._lost = None
        if self._reaper is not None:
            self._reaper.ignore(self)

    def look(self) -> None:
        lost, incoming = self._lost, self._incoming
        has_ended = incoming.ended and (self.tls is not None or not incoming.buffer)
        is_gone = incoming.broken or self._outgoing.broken
        if lost is not None and (is_gone or (has_ended and not self._may_end)):
            self.unattend()
            lost()

    def end_output(self) -> None:
        """Send no more, but go on receiving: a TCP FIN without close_notify."""
        self._outgoing.end()

    def abort(self) -> None:
        if not self._closed:
            self.unattend()
            self._closed = True
            if self._reaper is not None:
                self._reaper.discard(self)
            self._incoming.break_()
            if not self._outgoing.ended:
                self._outgoing.break_()

    async def aclose(self, *, linger: bool = True) -> None:
        """As a socket does it, a peer can still read what was sent before."""
        if self._closed:
            return
        if self._session is not None:
            pipe = self._outgoing
            notify = self._session.close_notify()
            if not pipe.broken and not pipe.ended:
                pipe.buffer += notify
        self.unattend()
        self._closed = True
        if self._reaper is not None:
            self._reaper.discard(self)
        self._outgoing.end()
        self._incoming.buffer.clear()
        self._incoming.break_()


class _TlsSession:
    """OpenSSL between two memory buffers."""

    def __init__(self, context: ssl.SSLContext, server_side: bool, hostname: str | None) -> None:
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.object = context.wrap_bio(
            self._in, self._out, server_side=server_side, server_hostname=hostname
        )

    async def handshake(self, wire: MemoryTransport) -> None:
        while True:
            try:
                self.object.do_handshake()
            except ssl.SSLWantReadError:
                await self._exchange(wire)
            except ssl.SSLError:
                await wire.send_raw(self._out.read())  # the alert
                raise
            else:
                return await wire.send_raw(self._out.read())

    async def receive(self, wire: MemoryTransport, limit: int) -> bytes:
        while True:
            try:
                data = self.object.read(limit)
            except ssl.SSLWantReadError:
                await self._exchange(wire)
            except ssl.SSLZeroReturnError:
                data = b""
            except ssl.SSLError as error:
                raise ConnectionLost(f"TLS: {error}") from None
            else:
                return data

    def encrypt(self, data: bytes) -> bytes:
        self.object.write(data)
        return self._out.read()

    def close_notify(self) -> bytes:
        with contextlib.suppress(ssl.SSLError):  # the peer's own has not come: ours is written
            self.object.unwrap()
        return self._out.read()

    async def _exchange(self, wire: MemoryTransport) -> None:
        await wire.send_raw(self._out.read())
        data = await wire.receive_raw()
        if not data:
            raise ConnectionLost("TLS stream truncated")
        self._in.write(data)


def memory_transport_pair(
    reaper: Reaper | None = None,
    *,
    capacity: int = 64 * 1024,
    client: str = "192.0.2.1:4711",
    server: str = "198.51.100.1:25",
) -> tuple[MemoryTransport, MemoryTransport]:
    """Return the client's end and the server's end of a new connection.

    ``capacity`` octets may be on the way in each direction before a send waits. ``reaper``
    watches the deadlines of both ends; without one no deadline ever passes.
    """
    there, back = _Pipe(capacity), _Pipe(capacity)
    ends = (
        MemoryTransport(back, there, local=client, peer=server),
        MemoryTransport(there, back, local=server, peer=client),
    )
    if reaper is not None:
        for end in ends:
            end.watch(reaper)
    return ends
