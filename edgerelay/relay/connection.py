"""A connection to one address of a next hop, from the dial to QUIT.

It greets and, if the rule of the lane says so, encrypts; what is said in between is a
transaction's. It knows no queue, no retry and no other address.
"""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Final

import trio

from edgerelay.mail.reply import Reply
from edgerelay.net.socket_transport import Dialer
from edgerelay.net.transport import ConnectionLost, DeadlinePassed, Transport, TransportError
from edgerelay.relay.attempt import (
    CONNECTION_LOST,
    NO_CONNECTION,
    NOT_UNDERSTOOD,
    TIMED_OUT,
    TLS_FAILED,
    TLS_MISSING,
)
from edgerelay.relay.settings import HopKind, HopTls, RelaySettings
from edgerelay.relay.tls import ClientContexts
from edgerelay.smtp.client import ClientProtocol
from edgerelay.smtp.errors import PeerProtocolError

#: Seconds we wait for the answer to QUIT (RFC 5321 section 4.1.1.10 wants us to).
_QUIT_WITHIN: Final = 5.0
_LMTP: Final = (HopKind.LMTP, HopKind.LMTP_UNIX)


@dataclass(frozen=True, slots=True)
class Target:
    """One address of a next hop. ``name`` is the host's, for its certificate and for reports."""

    kind: HopKind
    address: tuple[str, int] | Path
    name: str

    def __str__(self) -> str:
        if isinstance(self.address, Path):
            return f"unix:{self.address}"
        host, port = self.address
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class HopUnusable(Exception):
    """This address takes no mail now. ``detail`` is for the operator, ``reply`` for anyone."""

    def __init__(self, reply: Reply, detail: str) -> None:
        super().__init__(detail)
        self.reply = reply
        self.detail = detail


class HandshakeFailed(HopUnusable):
    """It may take mail in the clear, and the rule allows that."""


class Connection:
    """Ready for a transaction. ``transactions`` that it has had; `broken` ones have no next."""

    __slots__ = (
        "broken",
        "hop",
        "is_lmtp",
        "opened",
        "protocol",
        "target",
        "tls",
        "transactions",
        "transport",
        "wants_rset",
    )

    def __init__(self, target: Target, transport: Transport) -> None:
        self.target = target
        self.transport = transport
        self.is_lmtp = target.kind in _LMTP
        self.protocol = ClientProtocol(lmtp=self.is_lmtp)
        self.hop = str(target)
        self.tls = ""
        self.opened = trio.current_time()
        self.transactions = 0
        self.broken = False
        self.wants_rset = False  #: the last transaction was left open at the peer

    @property
    def keeps_requiretls(self) -> bool:
        """A message under REQUIRETLS may go this way (RFC 8689 section 4.2.1).

        LMTP is not SMTP but final delivery: it needs no promise of the hop's, and on this machine
        no TLS.
        """
        tls = self.transport.tls
        is_verified = tls is not None and tls.verified
        if not self.is_lmtp:
            return is_verified and self.protocol.capabilities.requiretls
        address = self.target.address
        return is_verified or isinstance(address, Path) or ip_address(address[0]).is_loopback

    async def reply(self) -> Reply:
        """The next reply, within the transport's deadline.

        Raises `TransportError` or `PeerProtocolError`; the connection is then of no use.
        """
        protocol = self.protocol
        while (reply := protocol.next_reply()) is None:
            octets = await self.transport.receive()
            if not octets:
                raise ConnectionLost("closed by the next hop")
            protocol.receive_data(octets)
        return reply

    async def ask(self, command: bytes, within: float) -> Reply:
        self.transport.deadline = trio.current_time() + within
        await self.transport.send(command)
        return await self.reply()

    def abort(self) -> None:
        self.broken = True
        self.transport.abort()

    async def quit(self) -> None:
        """Take leave, if there is somebody to take leave of. Bounded; never raises."""
        try:
            if not self.broken:
                await self.ask(self.protocol.quit(), _QUIT_WITHIN)
        except (TransportError, PeerProtocolError):
            pass
        finally:
            self.broken = True
            with trio.CancelScope(deadline=trio.current_time() + _QUIT_WITHIN, shield=True):
                await self.transport.aclose(linger=False)


def failure_of(error: TransportError | PeerProtocolError) -> Reply:
    """What recipients are told of a conversation that ended so."""
    if isinstance(error, DeadlinePassed):
        return TIMED_OUT
    return NOT_UNDERSTOOD if isinstance(error, PeerProtocolError) else CONNECTION_LOST


@dataclass(frozen=True, slots=True)
class Opener:
    """Opens connections: what they all have in common."""

    settings: RelaySettings
    dialer: Dialer
    contexts: ClientContexts

    async def open(self, target: Target, rule: HopTls) -> Connection:
        """Connect, greet and encrypt. Raises `HopUnusable`, whatever went wrong."""
        if isinstance(target.address, Path):
            rule = HopTls.OFF  # a Unix socket has no wire to listen at
        source = source_for(target.address, self.settings.source)
        try:
            transport = await self.dialer(
                target.address, source=source, timeout=self.settings.connect
            )
        except TransportError as error:
            raise HopUnusable(NO_CONNECTION, f"{target}: {error}") from None
        connection = Connection(target, transport)
        try:
            await self._greet(connection, rule)
        except (TransportError, PeerProtocolError) as error:
            connection.abort()
            raise HopUnusable(failure_of(error), f"{target}: {error}") from None
        except BaseException:
            connection.abort()
            raise
        return connection

    async def _greet(self, connection: Connection, rule: HopTls) -> None:
        settings, transport = self.settings, connection.transport
        if connection.target.kind is HopKind.SMTPS:
            await self._handshake(connection, rule)
        transport.deadline = trio.current_time() + settings.greeting
        _expect_success(connection, await connection.reply())
        await self._hello(connection, may_fall_back=rule in (HopTls.OFF, HopTls.OPPORTUNISTIC))
        if rule is HopTls.OFF or transport.tls is not None:
            return
        if await self._starttls(connection, rule):
            await self._hello(connection, may_fall_back=False)

    async def _hello(self, connection: Connection, *, may_fall_back: bool) -> None:
        protocol, settings = connection.protocol, self.settings
        reply = await connection.ask(protocol.ehlo(settings.hostname), settings.command)
        if reply.is_permanent and may_fall_back and not connection.is_lmtp:
            # RFC 5321 section 3.2: a server from before EHLO.
            reply = await connection.ask(protocol.helo(settings.hostname), settings.command)
        _expect_success(connection, reply)

    async def _starttls(self, connection: Connection, rule: HopTls) -> bool:
        must = rule is not HopTls.OPPORTUNISTIC
        if not connection.protocol.capabilities.starttls:
            if must:
                raise HopUnusable(TLS_MISSING, f"{connection.hop}: no STARTTLS")
            return False
        reply = await connection.ask(connection.protocol.starttls(), self.settings.command)
        if not reply.is_positive:
            if must or reply.code == 421:
                raise HopUnusable(TLS_MISSING, f"{connection.hop}: STARTTLS: {reply}")
            return False
        # Octets behind the 220 were put there by somebody in between: never mind the rule.
        connection.protocol.tls_started()
        await self._handshake(connection, rule)
        return True

    async def _handshake(self, connection: Connection, rule: HopTls) -> None:
        transport = connection.transport
        transport.deadline = trio.current_time() + self.settings.command
        context: ssl.SSLContext = self.contexts.for_rule(rule)
        name = connection.target.name.rstrip(".")
        try:
            await transport.start_tls(context, server_side=False, server_hostname=name)
        except TransportError as error:
            in_clear = rule is HopTls.OPPORTUNISTIC and connection.target.kind is not HopKind.SMTPS
            failure = HandshakeFailed if in_clear else HopUnusable
            raise failure(TLS_FAILED, f"{connection.hop}: {error}") from None
        connection.tls = str(transport.tls or "")


def _expect_success(connection: Connection, reply: Reply) -> None:
    if reply.code >= 300:
        # A 5yz here is about the server, not about a message: it waits (RFC 5321 section 3.1).
        raise HopUnusable(reply, f"{connection.hop}: {reply}")


def source_for(address: tuple[str, int] | Path, sources: Sequence[str]) -> str | None:
    """Return the local address to connect from: the first of the same family, if any."""
    if isinstance(address, Path) or not sources:
        return None
    version = ip_address(address[0].partition("%")[0]).version
    return next((one for one in sources if ip_address(one).version == version), None)
