"""``python -m edgerelay.testing.simulation``: many seeds, on every core, and what they found.

--seeds 1000 --first 0      these
--seed 213 --log            one of them, with everything that happened
--stop                      end at the first failure
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from edgerelay.testing.simulation.world import Outcome, simulate


@dataclass
class Total:
    """Everything that the runs so far came to."""

    seeds: int = 0
    mails: int = 0
    attempts: int = 0
    losses: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    duplicates: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    failed: list[Outcome] = field(default_factory=list)

    def add(self, outcome: Outcome) -> None:
        self.seeds += 1
        self.mails += outcome.mails
        self.attempts += outcome.attempts
        self.losses += outcome.verdict.losses
        self.faults += outcome.faults
        self.duplicates += outcome.verdict.duplicates
        self.outcomes += outcome.verdict.outcomes
        if not outcome.is_good:
            self.failed.append(outcome)

    def print(self, seconds: float) -> None:
        each = seconds / max(1, self.seeds)
        print(f"{self.seeds:,} seeds in {seconds:,.0f} s ({each * 1000:.0f} ms each)")
        print(f"{self.mails:,} messages, {self.attempts:,} attempts to send one")
        _table("faults", self.faults)
        _table("recipients", self.outcomes)
        _table("duplicates, each with its reason", self.duplicates)
        print(f"lost: {self.losses}")
        print(f"seeds that failed: {len(self.failed)}")


def _table(heading: str, counts: Counter[str]) -> None:
    print(f"{heading}: {sum(counts.values()):,}")
    for name, count in counts.most_common():
        print(f"  {count:>10,}  {name}")


def _outcomes(seeds: Iterable[int], jobs: int) -> Iterator[Outcome]:
    if jobs == 1:
        yield from map(simulate, seeds)
        return
    # Each process is used for some hundreds of seeds: what one leaves in memory is not for ever.
    with multiprocessing.get_context("spawn").Pool(jobs, maxtasksperchild=20) as pool:
        yield from pool.imap(simulate, seeds, chunksize=25)


def _tell(outcome: Outcome, *, keeps_log: bool) -> None:
    for line in outcome.log if keeps_log else ():
        print(line)
    for problem in outcome.verdict.problems:
        print(f"seed {outcome.seed}: {problem}")
    again = f"python -m edgerelay.testing.simulation --seed {outcome.seed} --log"
    print(f"seed {outcome.seed}: again with {again}", flush=True)


def main() -> int:
    """Exit code 1 if a seed failed."""
    parser = argparse.ArgumentParser(prog="python -m edgerelay.testing.simulation")
    parser.add_argument("--seeds", type=int, default=200, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first one")
    parser.add_argument("--seed", type=int, help="one alone")
    parser.add_argument("--log", action="store_true", help="print all that happened (--seed)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--stop", action="store_true", help="end at the first that fails")
    arguments = parser.parse_args()
    if arguments.seed is not None:
        outcome = simulate(arguments.seed, keeps_log=True)
        _tell(outcome, keeps_log=arguments.log)
        print(f"digest {outcome.digest}")
        return int(not outcome.is_good)
    total, started = Total(), time.monotonic()
    for outcome in _outcomes(
        range(arguments.first, arguments.first + arguments.seeds), arguments.jobs
    ):
        total.add(outcome)
        if not outcome.is_good:
            _tell(outcome, keeps_log=False)
            if arguments.stop:
                break
        elif total.seeds % 1000 == 0:
            print(f"{total.seeds:,} seeds", file=sys.stderr, flush=True)
    total.print(time.monotonic() - started)
    return int(bool(total.failed))


if __name__ == "__main__":
    sys.exit(main())
