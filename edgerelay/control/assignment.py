"""What a worker is told when it starts: everything, as plain values, in one message.

The supervisor has read the configuration and the files it names; a worker, which may no
longer read them, gets the result.
"""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edgerelay.edge.settings import EdgeSettings, ListenerSettings
from edgerelay.net.key_pairs import TlsFiles
from edgerelay.pipeline.settings import PolicySettings
from edgerelay.relay.settings import RelaySettings

#: Exit status of a worker that cannot serve whatever is tried: its shard is newer than it, or
#: a policy cannot be opened.
REFUSED_TO_START: Final = 2


@dataclass(frozen=True, slots=True)
class Assignment:
    """One worker's share. Durations are seconds, sizes octets."""

    worker: int
    state_dir: Path
    shard: str  #: its own, unless another process has it: then a new one
    edge: EdgeSettings
    relay: RelaySettings
    listeners: tuple[ListenerSettings, ...]
    listener_fds: tuple[int, ...]  #: inherited, in the same order
    tls_files: TlsFiles | None
    dns_servers: tuple[tuple[str, int], ...]
    dns_timeout: float
    min_free_space: int
    drain: float
    tables_backend: str = "sqlite"  #: "sqlite" | "memory", then each worker has its own
    policies: tuple[PolicySettings, ...] = ()  #: as the file has them; the worker loads them

    @property
    def spool(self) -> Path:
        """Where the shards are, each a directory of its name."""
        return self.state_dir / "spool"

    def to_octets(self) -> bytes:
        return pickle.dumps(self)

    @classmethod
    def from_octets(cls, octets: bytes) -> Assignment:
        """Read what `to_octets` wrote, from our own parent and from nobody else."""
        assignment = pickle.loads(octets)  # noqa: S301 - the channel is a socket pair of our parent
        if not isinstance(assignment, cls):
            raise TypeError(f"expected an Assignment, not {type(assignment).__name__}")
        return assignment
