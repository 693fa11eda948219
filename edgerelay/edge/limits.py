"""How many connections a client may hold, and how fast it may make new ones.

A client is a /32 of IPv4 or a /64 of IPv6. Both limits are those of the whole machine: what
other workers count is told to us, a fraction of a second late.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from ipaddress import IPv6Address
from typing import Final

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


def client_key(address: Address) -> str:
    """The prefix that limits go by. IPv4-mapped addresses have been turned into IPv4."""
    if isinstance(address, IPv6Address):
        return f"{IPv6Address(int(address) >> 64 << 64)}/64"
    return f"{address}/32"


class ClientLimits:
    """Counts admitted connections per client key; who was admitted must be released."""

    def __init__(self, settings: EdgeSettings) -> None:
        rate = settings.rate_per_client
        self._limit = settings.connections_per_client
        self._here: dict[str, int] = {}
        self._elsewhere: Mapping[str, int] = {}
        # A leaky bucket each, kept as the time at which it will be empty (GCRA).
        self._empty_at: dict[str, float] = {}
        self._prune_above = _REMEMBERED
        self._cost = rate[1] / rate[0] if rate else 0.0
        self._burst = rate[1] if rate else 0.0
        self._arrived: dict[str, int] = {}  # since they were last asked for

    def admit(self, key: str, now: float) -> Admission:
        """Count one more connection, or say why not; ``now`` is monotonic, in seconds."""
        here = self._here.get(key, 0)
        if here + self._elsewhere.get(key, 0) >= self._limit:
            return Admission.TOO_MANY
        if self._cost and not self._take(key, now):
            return Admission.TOO_FAST
        self._here[key] = here + 1
        return Admission.ADMITTED

    def release(self, key: str) -> None:
        left = self._here.get(key, 0) - 1
        if left > 0:
            self._here[key] = left
        else:
            self._here.pop(key, None)

    def report(self) -> dict[str, int]:
        """Connections here per client, for the other workers. No zeros."""
        return dict(self._here)

    def arrivals(self) -> dict[str, int]:
        """New connections here per client since the last call, where a rate is limited."""
        arrived, self._arrived = self._arrived, {}
        return arrived

    def elsewhere(
        self, counts: Mapping[str, int], arrivals: Mapping[str, int], now: float
    ) -> None:
        """Replace what is known of the other workers' connections; add what arrived there."""
        self._elsewhere = counts
        for key, number in arrivals.items():
            self._fill(key, max(now, self._empty_at.get(key, 0.0)) + number * self._cost, now)

    def _take(self, key: str, now: float) -> bool:
        full_at = max(now, self._empty_at.get(key, 0.0)) + self._cost
        # A little slack: sums of floats must not refuse the last one of a burst.
        if full_at - now > self._burst + self._cost / 1000:
            return False
        self._fill(key, full_at, now)
        self._arrived[key] = self._arrived.get(key, 0) + 1
        return True

    def _fill(self, key: str, empty_at: float, now: float) -> None:
        if len(self._empty_at) >= self._prune_above:
            self._prune(now)
        self._empty_at[key] = empty_at

    def _prune(self, now: float) -> None:
        self._empty_at = {key: at for key, at in self._empty_at.items() if at > now}
        if len(self._empty_at) >= _REMEMBERED_AT_MOST:
            self._empty_at = {}
        # Twice what is left: pruning costs a constant share of each new client.
        self._prune_above = min(max(_REMEMBERED, 2 * len(self._empty_at)), _REMEMBERED_AT_MOST)
