"""A configuration that was found good: plain values, ready for every part that asks.

Durations are seconds, sizes octets, paths absolute.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgerelay.config.tls_files import Sign, TlsPaths
from edgerelay.edge.settings import EdgeSettings, ListenerSettings
from edgerelay.net.key_pairs import TlsFiles
from edgerelay.pipeline.settings import PolicySettings
from edgerelay.relay.settings import RelaySettings


@dataclass(frozen=True, slots=True)
class Config:
    """``listeners`` and ``listener_addresses`` (a literal and a port, or "fd:NAME" and 0) are in
    the same order.

    ``tls_files`` are the certificates and their keys as PEM octets, read from ``tls_paths`` when
    the file was: workers run after privileges are dropped. ``tls_signs`` say of which state.
    ``dns_servers`` empty: the system's.
    """

    hostname: str
    postmaster: str  #: "": postmaster@hostname
    state_dir: Path
    workers: int
    user: str
    user_is_explicit: bool
    drain: float
    dns_servers: tuple[tuple[str, int], ...]
    dns_timeout: float
    min_free_space: int
    listeners: tuple[ListenerSettings, ...]
    listener_addresses: tuple[tuple[str, int], ...]
    tls_files: TlsFiles | None
    edge_settings: EdgeSettings
    relay_settings: RelaySettings
    tables_backend: Literal["sqlite", "memory"] = "sqlite"
    tls_paths: TlsPaths | None = None
    tls_signs: tuple[Sign, ...] = ()
    policies: tuple[PolicySettings, ...] = ()  #: those that are off, too

    def edge(self) -> EdgeSettings:
        """What the inbound side of one worker is told; its listeners have no TLS context yet."""
        return self.edge_settings

    def relay(self) -> RelaySettings:
        """What the outbound side of one worker is told: the concurrency is its share."""
        return self.relay_settings
