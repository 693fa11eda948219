"""The whole relay in one process, under virtual time, with a seed; see docs/simulation.md.

Workers, shards, policies, delivery and reports are the real thing. Clients, next hops, the DNS,
the disk, the supervisor and the clock are simulated, and fail in every way we could think of.
After each run every recipient of every message must be accounted for.
"""

from edgerelay.testing.simulation.world import Outcome, simulate

__all__ = ["Outcome", "simulate"]
