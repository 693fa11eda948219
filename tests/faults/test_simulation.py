"""The simulation: some seeds are good, a seed can be had again, and its oracle can say no."""

from __future__ import annotations

import pytest

from edgerelay.spool.disk import Disk
from edgerelay.spool.shard import Shard
from edgerelay.testing.simulation import simulate
from edgerelay.testing.simulation.disk import SimulatedDisk


@pytest.mark.parametrize("seed", range(10))
def test_every_recipient_is_accounted_for(seed: int) -> None:
    outcome = simulate(seed)
    assert outcome.verdict.problems == []
    assert outcome.verdict.losses == 0


def test_a_seed_is_the_same_run_every_time() -> None:
    first, other, again = simulate(7, keeps_log=True), simulate(8), simulate(7)
    assert first.digest == again.digest != other.digest
    assert first.faults == again.faults
    assert any("dies" in line for line in first.log)


def test_the_faults_are_many_and_of_every_kind() -> None:
    faults = simulate(0).faults
    for seed in range(1, 10):
        faults += simulate(seed).faults
    assert sum(faults.values()) > 10 * 50
    for kind in ("kill -9", "crash in a disk operation", "disk full", "clock jump", "DNS: slow"):
        assert faults[kind], kind


def test_a_lock_that_locks_nothing_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def lock(disk: SimulatedDisk) -> None:
        disk.platter.owner = disk.process

    monkeypatch.setattr(SimulatedDisk, "lock", lock)
    problems = [problem for seed in range(10) for problem in simulate(seed).verdict.problems]
    assert any("DUPLICATE without a reason" in problem for problem in problems)


def test_a_recovery_that_forgets_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = Shard.open

    def forget(shard: Shard) -> object:
        disk: Disk = shard.disk
        assert isinstance(disk, SimulatedDisk)
        disk.platter.image = None
        return opened(shard)

    monkeypatch.setattr(Shard, "open", forget)
    assert sum(simulate(seed).verdict.losses for seed in range(10))
