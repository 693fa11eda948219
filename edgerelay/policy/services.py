"""What the relay lends a policy, so that no policy opens a socket, a file or a clock itself.

Everything that can differ between two runs passes through here, so it can be recorded, and
given back in a test or a replay.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeVar

import trio

from edgerelay.dns.answer import Resolver
from edgerelay.tables.api import Table

T = TypeVar("T")


class Log(Protocol):
    """Lines for the operator, each of which names the policy."""

    def __call__(self, text: str, /, **facts: object) -> None: ...


class Services(Protocol):
    """One set for each configured policy."""

    @property
    def hostname(self) -> str:
        """Our name, as in the greeting."""

    @property
    def dns(self) -> Resolver:
        """Cached, with one question under way at a time for each name and type."""

    @property
    def log(self) -> Log: ...

    def now(self) -> float:
        """The wall clock: seconds since the epoch. For deadlines use Trio's."""

    def table(self, name: str = "") -> Table:
        """A small map whose entries expire, this policy's own, shared by all workers of the
        machine. In observe mode it is another one, so that a trial leaves no traces."""

    async def connect(self, address: tuple[str, int] | Path, *, timeout: float) -> trio.abc.Stream:
        """Connect to a scanner: a host and port, or a Unix socket. Raises OSError."""

    async def run_blocking(self, function: Callable[[], T], /) -> T:
        """Run what computes or blocks for over 5 ms in a thread. Abandoned when cancelled."""
