"""Who is at the other end: after the PROXY header, and whether the network may relay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from edgerelay.edge.limits import Prefixes, prefixes_of
from edgerelay.net.endpoint import Address, canonical, host_and_port
from edgerelay.units import Network


@dataclass(frozen=True, slots=True)
class Host:
    """An address with all that is made of it: that costs more to make than to keep."""

    address: Address | None  #: None for a Unix socket
    text: str  #: the address without a zone (RFC 5321 section 4.1.3 has none), or ""
    prefixes: Prefixes | None  #: what limits go by

    def is_in(self, networks: Sequence[Network]) -> bool:
        address = self.address
        if not networks or address is None:
            return False
        return any(
            address.version == network.version and address in network for network in networks
        )


@lru_cache(maxsize=4096)
def host_of(text: str) -> Host:
    """Read an address literal; of what is none, nothing is known."""
    try:
        address = canonical(text)
    except ValueError:
        return Host(None, "", None)
    return Host(address, str(address).partition("%")[0], prefixes_of(address))


@dataclass(frozen=True, slots=True)
class Client:
    endpoint: str  #: for events: "192.0.2.1:4711", "unix:PATH"
    host: Host
    named: bool = True  #: False: both are the proxy's

    @classmethod
    def from_peer(cls, peer: str) -> Client:
        """``peer`` is `Transport.peer`."""
        return cls(peer, host_of(peer.rpartition(":")[0].strip("[]")))

    @classmethod
    def behind_proxy(cls, address: Address, port: int) -> Client:
        return cls(host_and_port(address, port), host_of(str(address)))

    def behind_xclient(self, attributes: Mapping[str, str | None]) -> Client:
        """Whom the client speaks for, as it says; what it does not say stays as it was."""
        if "ADDR" not in attributes:
            return self
        address = attributes["ADDR"]
        if address is None:
            return Client(self.endpoint, Host(None, "", None), named=False)
        return Client.behind_proxy(canonical(address), int(attributes.get("PORT") or 0))

    def unnamed(self) -> Client:
        """The proxy spoke for itself: its address is told, but nobody is trusted for it."""
        return Client(self.endpoint, self.host, named=False)

    @property
    def address(self) -> Address | None:
        return self.host.address

    def is_in(self, networks: Sequence[Network]) -> bool:
        return self.host.is_in(networks)

    @property
    def prefixes(self) -> Prefixes | None:
        """What limits count it by; None: not limited, it is a proxy or on this machine."""
        return self.host.prefixes if self.named else None
