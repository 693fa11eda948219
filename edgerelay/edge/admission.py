"""Who may talk to us: the PROXY header is read, then the limits are asked, then the greeting."""

from __future__ import annotations

from typing import Final

import trio

from edgerelay.edge.client import Client
from edgerelay.edge.limits import Admission, ClientLimits
from edgerelay.edge.proxy import ProxyError, parse_proxy_header, still_needed
from edgerelay.edge.settings import ListenerSettings, ListenerTls
from edgerelay.net.transport import Transport

#: Seconds for a proxy to say whom it speaks for: it writes that first, at once.
PROXY_TIMEOUT: Final = 5.0
#: Octets of TLVs and of what the client has said already.
_AT_ONCE: Final = 4096


async def identify(
    peer: Client, transport: Transport, listener: ListenerSettings
) -> tuple[Client, bytes]:
    """Return the client, and what it has said already; ``peer`` is the client or its proxy.

    Raises `ProxyError` if the peer must send a PROXY header but does not, `TransportError`
    if it goes away or takes more than `PROXY_TIMEOUT`.
    """
    if not peer.is_in(listener.proxy_protocol_from):
        return peer, b""
    transport.deadline = trio.current_time() + PROXY_TIMEOUT
    # Not an octet past the header where the rest belongs to a handshake.
    exact = listener.tls is ListenerTls.IMPLICIT
    data = b""
    while needed := still_needed(data):
        more = await transport.receive(needed if exact else _AT_ONCE)
        if not more:
            raise ProxyError("ended")
        data += more
    header = parse_proxy_header(data)
    behind = Client.behind_proxy(*header.client) if header.client else peer.unnamed()
    return behind, data[header.length :]


class Place:
    """A client's place among its connections; free again once it is `left`."""

    __slots__ = ("_limits", "_prefixes", "admission")

    def __init__(self, limits: ClientLimits, client: Client, now: float) -> None:
        """``now`` is monotonic, in seconds."""
        self._limits = limits
        self._prefixes = client.prefixes
        self.admission = Admission.ADMITTED
        if self._prefixes is not None:
            self.admission = limits.admit(self._prefixes, now)

    def leave(self) -> None:
        """Idempotent; nothing for a client that was not admitted."""
        if self._prefixes is not None and self.admission is Admission.ADMITTED:
            self._limits.release(self._prefixes)
        self._prefixes = None
