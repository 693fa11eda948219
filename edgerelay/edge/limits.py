"""How many connections a client may hold, and how fast it may make new ones.

A client is a /32 of IPv4 or a /64 of IPv6, and its network the /24 or /48 around it: who owns
many addresses has no more for that. All limits are those of the whole machine: what other
workers count is told to us, a fraction of a second late.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from ipaddress import IPv6Address
from typing import Final, NamedTuple

from edgerelay.edge.settings import EdgeSettings
from edgerelay.net.endpoint import Address

#: Rates of so many clients are remembered before those who have been quiet are forgotten.
_REMEMBERED: Final = 10_000
#: And never more: 32 MiB. A flood from more networks than that starts with a clean slate.
_REMEMBERED_AT_MOST: Final = 200_000


class Admission(Enum):
    ADMITTED = "admitted"
    TOO_MANY = "too many connections"
    TOO_FAST = "too many new connections"


class Prefixes(NamedTuple):
    """What limits go by. IPv4-mapped addresses have been turned into IPv4."""

    client: str  #: /32 or /64
    network: str  #: /24 or /48


def prefixes_of(address: Address) -> Prefixes:
    if isinstance(address, IPv6Address):
        return Prefixes(*(f"{_first(address, bits)}/{bits}" for bits in (64, 48)))
    return Prefixes(*(f"{_first(address, bits)}/{bits}" for bits in (32, 24)))


def _first(address: Address, bits: int) -> Address:
    rest = address.max_prefixlen - bits
    return type(address)(int(address) >> rest << rest)


class ClientLimits:
    """Counts admitted connections by prefix; who was admitted must be released."""

    def __init__(self, settings: EdgeSettings) -> None:
        self._clients = _Limit(settings.connections_per_client, settings.rate_per_client)
        self._networks = _Limit(settings.connections_per_network, settings.rate_per_network)

    def admit(self, prefixes: Prefixes, now: float) -> Admission:
        """Count one more connection, or say why not; ``now`` is monotonic, in seconds."""
        client, network = prefixes
        if self._clients.is_full(client) or self._networks.is_full(network):
            return Admission.TOO_MANY
        if not (self._clients.may_come(client, now) and self._networks.may_come(network, now)):
            return Admission.TOO_FAST
        self._clients.add(client, now)
        self._networks.add(network, now)
        return Admission.ADMITTED

    def release(self, prefixes: Prefixes) -> None:
        self._clients.remove(prefixes.client)
        self._networks.remove(prefixes.network)

    def report(self) -> dict[str, int]:
        """Connections here by prefix, for the other workers. No zeros."""
        return self._clients.here | self._networks.here

    def arrivals(self) -> dict[str, int]:
        """New connections here by prefix since the last call, where a rate is limited."""
        return self._clients.take_arrivals() | self._networks.take_arrivals()

    def elsewhere(
        self, counts: Mapping[str, int], arrivals: Mapping[str, int], now: float
    ) -> None:
        """Replace what is known of the other workers' connections; add what arrived there."""
        self._clients.elsewhere = self._networks.elsewhere = counts
        for prefix, number in arrivals.items():
            limit = self._networks if prefix.endswith(_NETWORKS) else self._clients
            limit.add_arrivals(prefix, number, now)


_NETWORKS: Final = ("/24", "/48")


class _Limit:
    """Of prefixes of one length: so many connections at once, so many new ones in a time."""

    def __init__(self, connections: int, rate: tuple[int, float] | None) -> None:
        self.here: dict[str, int] = {}
        self.elsewhere: Mapping[str, int] = {}
        self._connections = connections
        # A leaky bucket each, kept as the time at which it will be empty (GCRA).
        self._empty_at: dict[str, float] = {}
        self._prune_above = _REMEMBERED
        self._cost = rate[1] / rate[0] if rate else 0.0
        self._burst = rate[1] if rate else 0.0
        self._arrived: dict[str, int] = {}  # since they were last asked for

    def is_full(self, prefix: str) -> bool:
        return self.here.get(prefix, 0) + self.elsewhere.get(prefix, 0) >= self._connections

    def may_come(self, prefix: str, now: float) -> bool:
        # A little slack: sums of floats must not refuse the last one of a burst.
        slack = self._cost / 1000
        return not self._cost or self._full_at(prefix, now) - now <= self._burst + slack

    def add(self, prefix: str, now: float) -> None:
        self.here[prefix] = self.here.get(prefix, 0) + 1
        if self._cost:
            self._fill(prefix, self._full_at(prefix, now), now)
            self._arrived[prefix] = self._arrived.get(prefix, 0) + 1

    def remove(self, prefix: str) -> None:
        left = self.here.get(prefix, 0) - 1
        if left > 0:
            self.here[prefix] = left
        else:
            self.here.pop(prefix, None)

    def take_arrivals(self) -> dict[str, int]:
        arrived, self._arrived = self._arrived, {}
        return arrived

    def add_arrivals(self, prefix: str, number: int, now: float) -> None:
        if self._cost:
            self._fill(prefix, self._full_at(prefix, now, number), now)

    def _full_at(self, prefix: str, now: float, number: int = 1) -> float:
        return max(now, self._empty_at.get(prefix, 0.0)) + number * self._cost

    def _fill(self, prefix: str, empty_at: float, now: float) -> None:
        if len(self._empty_at) >= self._prune_above:
            self._prune(now)
        self._empty_at[prefix] = empty_at

    def _prune(self, now: float) -> None:
        self._empty_at = {prefix: at for prefix, at in self._empty_at.items() if at > now}
        if len(self._empty_at) >= _REMEMBERED_AT_MOST:
            self._empty_at = {}
        # Twice what is left: pruning costs a constant share of each new client.
        self._prune_above = min(max(_REMEMBERED, 2 * len(self._empty_at)), _REMEMBERED_AT_MOST)
