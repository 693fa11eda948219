"""How often each policy said what, since this process began: for `status` and `policy list`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Final

from edgerelay.pipeline.plan import Entry
from edgerelay.pipeline.records import Failed, Observed
from edgerelay.policy import Decisive

#: What is counted of a policy. ``agree`` and ``disagree`` are those of one that is observed:
#: whether enforcing it would have changed what became of its stage.
KINDS: Final = (
    "accept",
    "defer",
    "reject",
    "hold",
    "discard",
    "failed",
    "agree",
    "disagree",
)


class PolicyCounts:
    def __init__(self) -> None:
        self._counts: Final[Counter[tuple[str, str]]] = Counter()

    def decided(self, entry: Entry, verdict: Decisive) -> None:
        self._counts[entry.name, type(verdict).__name__.lower()] += 1

    def record(self, what: Failed | Observed) -> None:
        name = what.entry.name
        if isinstance(what, Failed):
            self._counts[name, "failed"] += 1
        elif what.agrees is not None:
            self._counts[name, "agree" if what.agrees else "disagree"] += 1

    def by_policy(self) -> Mapping[str, Mapping[str, int]]:
        """Counts above zero, by the policy's name."""
        found: dict[str, dict[str, int]] = {}
        for (name, kind), count in self._counts.items():
            found.setdefault(name, {})[kind] = count
        return found
