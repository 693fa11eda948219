"""What a policy is lent in these tests: literal DNS, tables in memory, a clock set by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import trio

from edgerelay.policy import Asked, Evidence, EvidenceUnavailable, Log, Resolver, Table
from edgerelay.policy.views import EvidenceT
from edgerelay.tables.api import Tables
from edgerelay.tables.memory import MemoryTables
from edgerelay.testing.literal_dns import LiteralResolver, Zone

T = TypeVar("T")


class LentServices:
    """Implements `edgerelay.policy.Services`; move ``clock`` to let time pass."""

    hostname = "mx.example.org"

    def __init__(self, zone: Zone | None = None, tables: Tables | None = None) -> None:
        self.clock = 1_700_000_000.0
        self.tables = tables or MemoryTables(self.now)
        self.dns: Resolver = LiteralResolver(zone or {})
        self.lines: list[str] = []

    @property
    def log(self) -> Log:
        return self._log

    def _log(self, text: str, /, **facts: object) -> None:
        self.lines.append(text)

    def now(self) -> float:
        return self.clock

    def table(self, name: str = "") -> Table:
        return self.tables.table(name or "policy")

    async def connect(self, address: tuple[str, int] | Path, *, timeout: float) -> trio.abc.Stream:
        raise OSError("nobody is there")

    async def run_blocking(self, function: Callable[[], T], /) -> T:
        await trio.lowlevel.checkpoint()
        return function()


class Given:
    """A stage in which this evidence is known, and where what is published is kept."""

    def __init__(self, *evidence: Evidence) -> None:
        self._evidence = {type(each): each for each in evidence}
        self.provided: list[Evidence] = []

    async def evidence(self, kind: type[EvidenceT]) -> EvidenceT:
        found = self._evidence.get(kind)
        if not isinstance(found, kind):
            raise EvidenceUnavailable(kind.__name__)
        return found

    async def evidence_if_any(self, kind: type[EvidenceT]) -> EvidenceT | None:
        found = self._evidence.get(kind)
        return found if isinstance(found, kind) else None

    def provide(self, evidence: Evidence) -> None:
        self.provided.append(evidence)


def as_asked(given: Given) -> Asked:
    return given
