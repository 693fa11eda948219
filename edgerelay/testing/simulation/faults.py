"""Chance, from a seed, and a count of every fault that it struck with."""

from __future__ import annotations

from collections import Counter
from random import Random


class Faults:
    """``calm`` ends all of it: from then on nothing fails any more."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.counts: Counter[str] = Counter()
        #: Some runs are stormy and some nearly quiet: both find their own mistakes.
        self.weather = random.choice((0.3, 1.0, 1.0, 2.0))
        self.calm = False

    def strike(self, kind: str, chance: float) -> bool:
        """Whether it happens now; it is counted if so."""
        if self.calm or self.random.random() >= chance * self.weather:
            return False
        self.counts[kind] += 1
        return True

    def happened(self, kind: str) -> None:
        self.counts[kind] += 1

    def seconds(self, longest: float) -> float:
        """A delay: short ones are as likely as long ones, whatever the scale."""
        return float(longest * self.random.random() ** 4)
