"""The seam between a conversation and a stream of octets.

A socket form (`edgerelay.net.socket_transport`) and a memory form (`edgerelay.testing`)
pass the same contract, `edgerelay.testing.check_transport`. Nothing here knows SMTP.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol


class TransportError(Exception):
    """The stream is of no further use. The text is for the operator."""


class ConnectionLost(TransportError):
    """The peer or the network ended the stream, or it never came to be."""


class DeadlinePassed(TransportError):
    """`Transport.deadline` passed while we waited for the peer."""


@dataclass(frozen=True, slots=True)
class TlsFacts:
    version: str  #: "TLSv1.3"
    cipher: str  #: "TLS_AES_256_GCM_SHA384"
    verified: bool  #: the peer's certificate was checked and is good
    peer_name: str = ""  #: its first DNS name, address or common name; "" if it was not verified

    def __str__(self) -> str:
        return f"{self.version} {self.cipher}"


class Transport(Protocol):
    """A bidirectional stream of octets with one deadline.

    ``deadline`` is an absolute `trio.current_time()`; it costs a float to move, and a reaper
    looks at it about once a second: a wait ends with `DeadlinePassed` within two seconds of
    it, never before it. Every method may be cancelled; after that, only `abort` and
    `aclose` are of use. One task may receive while another sends.
    """

    deadline: float

    @property
    def peer(self) -> str:
        """The peer's address, ``192.0.2.1:4711``, ``[2001:db8::1]:25`` or ``unix:PATH``."""

    @property
    def local(self) -> str: ...

    @property
    def tls(self) -> TlsFacts | None:
        """What was negotiated, or None in the clear."""

    async def receive(self, limit: int = ...) -> bytes:
        """Return what is there, waiting for at least one octet; ``b""`` at a clean end.

        ``limit`` octets at most: for what precedes a handshake, which must not be read past.
        Raises `TransportError`.
        """

    async def send(self, data: bytes) -> None:
        """Send all of it. Raises `TransportError`."""

    async def start_tls(
        self, context: ssl.SSLContext, *, server_side: bool, server_hostname: str | None = None
    ) -> None:
        """Shake hands within `deadline`. Raises `TransportError`; the stream is then dead."""

    def expire(self) -> None:
        """Let whoever waits at this moment raise `DeadlinePassed`; nobody: nothing."""

    def attend(self, lost: Callable[[], None], *, may_end: bool = False) -> None:
        """Call ``lost`` once if the peer goes away while nobody receives, until `unattend`.

        For who works on an answer: the reaper looks, so it takes up to two seconds. A peer
        that has sent its last may still read: with ``may_end``, or while there is something to
        receive that is not TLS's own, only a connection that is gone both ways is lost.
        """

    def unattend(self) -> None: ...

    def abort(self) -> None:
        """End it now, without ceremony. Safe at any time, from any task, more than once."""

    async def aclose(self, *, linger: bool = True) -> None:
        """End it: close_notify if TLS, then close. Bounded, never raises, idempotent.

        Takes up to a second, so that the peer can read what we sent last although it still
        sends. ``linger=False`` says that the peer has nothing more to send: after QUIT.
        """
