"""Next hops of a relay under test: scripted peers at the addresses its configuration names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

from edgerelay.relay.finding import SMTP_PORT
from edgerelay.relay.settings import HopKind, NextHop, RelaySettings
from edgerelay.testing.literal_dns import LiteralResolver, Zone
from edgerelay.testing.scripted_peer import ScriptedNetwork, ScriptedPeer

Where = tuple[str, int] | Path


@dataclass(eq=False)
class Hop(ScriptedPeer):
    """A server that mail is delivered to; it takes everything unless its ``replies`` differ."""

    is_up: bool = True
    _at: list[Where] = field(default_factory=list)
    _network: ScriptedNetwork | None = None

    def down(self) -> None:
        """Refuse connections from now on, and end those that are open."""
        if self.is_up and self._network is not None:
            for where in self._at:
                self._network.stop(where)
        self.is_up = False

    def up(self) -> None:
        if not self.is_up and self._network is not None:
            for where in self._at:
                self._network.listen(where, self)
        self.is_up = True

    def attach(self, network: ScriptedNetwork, at: Iterable[Where]) -> None:
        """Be what answers at these addresses; the harness does it."""
        self._network, self._at = network, list(at)
        if self.is_up:
            for where in self._at:
                network.listen(where, self)


def hops_of(settings: RelaySettings, given: Mapping[str, Hop]) -> dict[str, Hop]:
    """Return every hop by its address as text: those of the routes, and those given.

    A key is ``host:port`` as in a ``next_hop``, or ``host`` for port 25, or a socket's path.
    """
    hops = {_key(text): hop for text, hop in given.items()}
    for route in settings.routes:
        for next_hop in route.next_hops:
            if next_hop.kind in (HopKind.MX, HopKind.MAILDIR):
                continue  # the DNS says where, or a directory
            hop = hops.setdefault(_address(next_hop), Hop())
            hop.lmtp |= next_hop.kind in (HopKind.LMTP, HopKind.LMTP_UNIX)
    return hops


def attach(hops: Mapping[str, Hop], network: ScriptedNetwork, zone: Zone) -> None:
    """Put each hop where it will be looked for. Raises ValueError for one without address."""
    names = LiteralResolver(zone)
    for key, hop in hops.items():
        hop.attach(network, _places(key, names))


def _address(hop: NextHop) -> str:
    if hop.path is not None:
        return str(hop.path)
    return f"[{hop.host}]:{hop.port}" if ":" in hop.host else f"{hop.host}:{hop.port}"


def _key(text: str) -> str:
    if text.startswith("/") or (text.rpartition(":")[2].isdigit() and not _is_address(text)):
        return text
    return f"[{text}]:{SMTP_PORT}" if ":" in text else f"{text}:{SMTP_PORT}"


def _places(key: str, names: LiteralResolver) -> list[Where]:
    if key.startswith("/"):
        return [Path(key)]
    host, _, port = key.rpartition(":")
    host = host.strip("[]")
    if _is_address(host):
        return [(str(ip_address(host)), int(port))]
    if host == "localhost":
        return [("127.0.0.1", int(port)), ("::1", int(port))]
    found = [names.look_up(host.lower().rstrip("."), kind)[1] for kind in ("A", "AAAA")]
    places = [
        (str(record), int(port))
        for records in found
        if isinstance(records, (list, tuple))
        for record in records
    ]
    if not places:
        raise ValueError(f"the hop {key} has no address: put A or AAAA records into the zone")
    return list(places)


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
