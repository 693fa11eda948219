"""Who is at the other end: after the PROXY header, and whether the network may relay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgerelay.edge.limits import client_key
from edgerelay.edge.settings import Network
from edgerelay.net.endpoint import Address, canonical, host_and_port


@dataclass(frozen=True, slots=True)
class Client:
    """``address`` is None for a Unix socket, and for a client its proxy does not name."""

    endpoint: str  #: for events: "192.0.2.1:4711", "unix:PATH"
    address: Address | None
    named: bool = True  #: False: `endpoint` is the proxy's

    @classmethod
    def from_peer(cls, peer: str) -> Client:
        """``peer`` is `Transport.peer`."""
        host = peer.rpartition(":")[0].strip("[]")
        try:
            return cls(peer, canonical(host))
        except ValueError:
            return cls(peer, None)

    @classmethod
    def behind_proxy(cls, address: Address, port: int) -> Client:
        return cls(host_and_port(address, port), address)

    def unnamed(self) -> Client:
        """The proxy spoke for itself: its address is told, but nobody is trusted for it."""
        return Client(self.endpoint, self.address, named=False)

    def is_in(self, networks: Sequence[Network]) -> bool:
        address = self.address
        return address is not None and any(
            address.version == network.version and address in network for network in networks
        )

    def may_be_trusted(self, networks: Sequence[Network]) -> bool:
        """It is in one of them, and it is the client itself that is."""
        return self.named and self.is_in(networks)

    @property
    def key(self) -> str | None:
        """What limits count it by; None: not limited, it is a proxy or on this machine."""
        return client_key(self.address) if self.address is not None and self.named else None
