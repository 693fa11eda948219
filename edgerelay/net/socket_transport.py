"""A stream of octets over a non-blocking socket, in the clear or through TLS.

It waits with `trio.lowlevel` alone: no cancel scope per call, no stream object between the
socket and us. Measured, that is half the cost of Trio's streams for a short connection.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import ssl
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Protocol

import trio
from trio.lowlevel import notify_closing, wait_readable, wait_writable

from edgerelay.net.endpoint import endpoint_text
from edgerelay.net.reaper import Reaper
from edgerelay.net.transport import ConnectionLost, DeadlinePassed, TlsFacts, Transport

#: Below glibc's mmap threshold, so that a read costs no page faults; a stream that fills it
#: is then read in larger pieces.
_RECEIVE: Final = 64 * 1024
_RECEIVE_MANY: Final = 256 * 1024

#: A larger send lets others run first: a fast peer must not keep the loop to itself.
_YIELD_ABOVE: Final = 32 * 1024

#: Closing waits this long, and reads this much, so that the peer can read our last words.
LINGER_SECONDS: Final = 1.0
_LINGER_OCTETS: Final = 1024 * 1024

#: The peer sends no more; where poll(2) cannot say that, only a reset is seen.
_HANGS_UP: Final[int] = getattr(select, "POLLRDHUP", 0)


class SocketTransport:
    """See `Transport`. Takes over a connected, non-blocking socket.

    Who makes a TCP socket sets TCP_NODELAY, or lets it inherit that from its listener.
    """

    __slots__ = (
        "_closed",
        "_ended",
        "_lost",
        "_may_end",
        "_peer",
        "_reaper",
        "_sock",
        "_tls",
        "_want",
        "deadline",
    )

    def __init__(self, sock: socket.socket, reaper: Reaper, *, peer: str = "") -> None:
        """``peer`` saves a system call where `socket.accept` has told it already."""
        self._sock = sock
        self._reaper = reaper
        self._peer = peer or _name(sock, sock.getpeername)
        self._tls: TlsFacts | None = None
        self._closed = False
        self._ended = False  # the peer has said that it sends no more
        self._want = _RECEIVE
        self._lost: Callable[[], None] | None = None
        self._may_end = False
        self.deadline = float("inf")
        reaper.add(self)

    @property
    def peer(self) -> str:
        return self._peer

    @property
    def local(self) -> str:
        return _name(self._sock, self._sock.getsockname)

    @property
    def tls(self) -> TlsFacts | None:
        return self._tls

    async def receive(self, limit: int = _RECEIVE_MANY) -> bytes:
        if self._closed:
            raise ConnectionLost("closed here")
        sock = self._sock
        try:
            if self._tls is not None:
                return await self._receive_tls(min(limit, _RECEIVE))
            while True:
                await wait_readable(sock)
                try:
                    data = sock.recv(self._want if self._want < limit else limit)
                except BlockingIOError:
                    continue
                self._want = _RECEIVE_MANY if len(data) == self._want else _RECEIVE
                self._ended = not data
                return data
        except trio.ClosedResourceError:
            raise self._woken() from None
        except OSError as error:
            raise _lost(error) from None

    async def _receive_tls(self, limit: int) -> bytes:
        # OpenSSL may hold decrypted octets while the socket has none: ask it first.
        sock = self._sock
        has_waited = False
        while not self._closed:
            try:
                data = sock.recv(limit)
            except ssl.SSLWantReadError:
                await wait_readable(sock)
                has_waited = True
            except ssl.SSLWantWriteError:
                await wait_writable(sock)
                has_waited = True
            else:
                self._ended = not data
                if not has_waited:
                    await trio.lowlevel.checkpoint()
                return data
        raise ConnectionLost("closed here")

    async def send(self, data: bytes) -> None:
        if self._closed:
            raise ConnectionLost("closed here")
        try:
            if len(data) > _YIELD_ABOVE:
                await trio.lowlevel.checkpoint()
            try:
                sent = self._sock.send(data)
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                sent = 0
            if sent < len(data):
                await self._send_rest(memoryview(data)[sent:])
        except trio.ClosedResourceError:
            raise self._woken() from None
        except OSError as error:
            raise _lost(error) from None

    async def _send_rest(self, rest: memoryview) -> None:
        sock = self._sock
        while rest:
            if self._closed:
                raise ConnectionLost("closed here")
            try:
                rest = rest[sock.send(rest) :]
            except (BlockingIOError, ssl.SSLWantWriteError):
                await wait_writable(sock)
            except ssl.SSLWantReadError:
                await wait_readable(sock)

    async def start_tls(
        self, context: ssl.SSLContext, *, server_side: bool, server_hostname: str | None = None
    ) -> None:
        if self._closed:
            raise ConnectionLost("closed here")
        try:
            tls = context.wrap_socket(
                self._sock,
                server_side=server_side,
                server_hostname=server_hostname,
                do_handshake_on_connect=False,
                suppress_ragged_eofs=False,  # an end without close_notify may be an attack
            )
        except (OSError, ValueError) as error:
            self.abort()
            raise _lost(error) from None
        self._sock = tls
        try:
            await _handshake(tls)
            self._tls = facts_of(tls)
        except trio.ClosedResourceError:
            reason = self._woken()
            self.abort()
            raise reason from None
        except (OSError, ValueError) as error:  # a certificate may verify and not be readable
            self.abort()
            raise _lost(error) from None

    def expire(self) -> None:
        if not self._closed:
            notify_closing(self._sock)

    def attend(self, lost: Callable[[], None], *, may_end: bool = False) -> None:
        if not self._closed:
            self._lost, self._may_end = lost, may_end
            self._reaper.attend(self)

    def unattend(self) -> None:
        self._lost = None
        self._reaper.ignore(self)

    def look(self) -> None:
        lost = self._lost
        if lost is not None and self._is_deserted():
            self.unattend()
            lost()

    def _is_deserted(self) -> bool:
        poll = select.poll()
        poll.register(self._sock, _HANGS_UP)
        flags = sum(flags for _, flags in poll.poll(0))
        if flags & (select.POLLHUP | select.POLLERR):  # reset, or closed both ways
            return True
        if not flags & _HANGS_UP or self._may_end:
            return False
        # In TLS what is there to read may be no more than its close_notify.
        try:
            return self._tls is not None or not self._sock.recv(1, socket.MSG_PEEK)
        except OSError:  # reset since we asked; the reaper has others to look after
            return True

    def abort(self) -> None:
        if not self._closed:
            self.unattend()
            self._closed = True
            self._reaper.discard(self)
            notify_closing(self._sock)
            self._sock.close()

    async def aclose(self, *, linger: bool = True) -> None:
        if self._closed:
            return
        try:
            if self._tls is not None:
                with trio.move_on_after(LINGER_SECONDS, shield=True):
                    await self._close_notify()
                self._take_off_tls()
            if (linger or self._tls is not None) and not self._ended:
                with trio.move_on_after(LINGER_SECONDS, shield=True):
                    await self._linger()
        except (OSError, trio.ClosedResourceError, trio.BusyResourceError):
            pass  # it is gone, which is what we want
        finally:
            self.abort()

    async def _close_notify(self) -> None:
        tls = self._sock
        while isinstance(tls, ssl.SSLSocket):
            try:
                tls.unwrap()
            except ssl.SSLWantWriteError:  # behind what the peer has not read yet
                await wait_writable(tls)
            except (OSError, ValueError):  # it is sent; the peer's own is not waited for
                return
            else:
                return

    def _take_off_tls(self) -> None:
        # What still comes is read only to be thrown away.
        tls = self._sock
        family, kind, proto = tls.family, tls.type, tls.proto
        fd = tls.detach()
        if fd >= 0:
            self._sock = socket.socket(family, kind, proto, fileno=fd)

    async def _linger(self) -> None:
        # close() with unread input sends RST, and an RST makes the peer's kernel throw away
        # what it has not read yet: our last reply. So: FIN, then read on for a little.
        sock = self._sock
        sock.shutdown(socket.SHUT_WR)
        left = _LINGER_OCTETS
        while left > 0:
            try:
                data = sock.recv(_RECEIVE)
            except BlockingIOError:
                await wait_readable(sock)
                continue
            if not data:
                return
            left -= len(data)

    def _woken(self) -> ConnectionLost | DeadlinePassed:
        # Only `abort` and `expire` wake a waiter, and `abort` has marked us.
        if self._closed:
            return ConnectionLost("closed here")
        return DeadlinePassed(f"no progress from {self._peer}")


class Dialer(Protocol):
    """The seam at which tests put a scripted peer."""

    async def __call__(
        self, address: tuple[str, int] | Path, *, source: str | None, timeout: float
    ) -> Transport:
        """Connect within ``timeout`` seconds. Raises `ConnectionLost`."""


async def dial(
    address: tuple[str, int] | Path, reaper: Reaper, *, source: str | None, timeout: float
) -> SocketTransport:
    """Connect to one address literal and port, or one Unix socket, within ``timeout`` seconds.

    Raises `ConnectionLost` whose text says what the system said.
    """
    try:
        family, where = _resolve(address)
        sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    except OSError as error:
        raise _lost(error) from None
    try:
        if family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if source is not None:
                sock.bind((source, 0))
        with trio.fail_after(timeout):
            await _connect(sock, where)
        return SocketTransport(sock, reaper)
    except trio.TooSlowError:
        sock.close()
        raise ConnectionLost(f"no connection within {timeout:g} s") from None
    except OSError as error:
        sock.close()
        raise _lost(error) from None
    except BaseException:
        sock.close()
        raise


def facts_of(tls: ssl.SSLSocket | ssl.SSLObject) -> TlsFacts:
    cipher = tls.cipher()
    # With CERT_OPTIONAL there may be no certificate; a bad one would have ended the handshake.
    verified = tls.context.verify_mode != ssl.CERT_NONE and bool(tls.getpeercert(True))
    name = _name_in(tls.getpeercert() or {}) if verified else ""
    return TlsFacts(tls.version() or "", cipher[0] if cipher else "", verified, name)


def _name_in(certificate: Mapping[str, Any]) -> str:
    alternatives = certificate.get("subjectAltName", ())
    subject = [pair for relative in certificate.get("subject", ()) for pair in relative]
    for kind, names in (("DNS", alternatives), ("email", alternatives), ("commonName", subject)):
        for found, name in names:
            if found == kind:
                return str(name)
    return ""


def _resolve(address: tuple[str, int] | Path) -> tuple[int, tuple[str, int] | str]:
    if isinstance(address, Path):
        return socket.AF_UNIX, str(address)
    host, port = address
    # Numeric only: this never asks a name server, and understands fe80::1%eth0.
    flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
    return found[0][0], found[0][4]  # type: ignore[return-value]  # IPv6 has four parts


async def _connect(sock: socket.socket, where: tuple[str, int] | str) -> None:
    await trio.lowlevel.checkpoint()
    while True:
        error = sock.connect_ex(where)
        if error == errno.EAGAIN:  # a Unix socket whose backlog is full: nothing to wait for
            await trio.sleep(0.05)
            continue
        if error == errno.EINPROGRESS:
            await wait_writable(sock)
            error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            raise OSError(error, os.strerror(error))
        return


async def _handshake(tls: ssl.SSLSocket) -> None:
    while True:
        try:
            return tls.do_handshake()
        except ssl.SSLWantReadError:
            await wait_readable(tls)
        except ssl.SSLWantWriteError:
            await wait_writable(tls)


def _name(sock: socket.socket, get: Callable[[], Any]) -> str:
    try:
        return endpoint_text(sock.family, get())
    except OSError:
        return "unknown"


def _lost(error: Exception) -> ConnectionLost:
    if isinstance(error, ssl.SSLEOFError):
        return ConnectionLost("TLS stream truncated")
    if isinstance(error, ssl.SSLError):
        return ConnectionLost(f"TLS: {error.reason or error}")
    if isinstance(error, OSError) and error.strerror:
        return ConnectionLost(error.strerror)
    return ConnectionLost(str(error) or type(error).__name__)
