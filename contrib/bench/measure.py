"""What processes cost: the CPU time of a cgroup, memory, and who else computed meanwhile.

Knows nothing of mail. CPU time per message stays comparable on a machine that is shared;
a rate does not, so each run also says what the others took.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Cgroup:
    """The processes of one side of a run, by cgroup v1 (cpuacct) or v2."""

    def __init__(self, name: str) -> None:
        for base, witness in (
            ("/sys/fs/cgroup/cpuacct", "cpuacct.usage"),
            ("/sys/fs/cgroup", "cgroup.controllers"),
        ):
            path = Path(base) / f"edgerelay-bench.{os.getpid()}.{name}"
            if (Path(base) / witness).exists():
                with contextlib.suppress(OSError):
                    path.mkdir()
                    self.path = path
                    self.v1 = witness == "cpuacct.usage"
                    return
        raise SystemExit("no cgroup that we may write to: run as root")

    def join(self) -> None:
        """Put the calling process in (for ``preexec_fn``)."""
        (self.path / "cgroup.procs").write_text(str(os.getpid()))

    def pids(self) -> list[int]:
        try:
            return [int(pid) for pid in (self.path / "cgroup.procs").read_text().split()]
        except OSError:
            return []

    def cpu(self) -> float:
        """Seconds of CPU that its processes took so far, those that ended included."""
        if self.v1:
            return int((self.path / "cpuacct.usage").read_text()) / 1e9
        lines = (self.path / "cpu.stat").read_text().split("\n")
        return int(dict(line.split() for line in lines if line)["usage_usec"]) / 1e6

    def close(self) -> None:
        """End whoever is left in it, by pid, and remove it."""
        for round_ in range(60):
            if not (left := self.pids()):
                break
            if round_ % 10 == 0:
                for pid in left:
                    with contextlib.suppress(OSError):
                        os.kill(pid, signal.SIGTERM if round_ < 30 else signal.SIGKILL)
            pause(0.1)
        with contextlib.suppress(OSError):
            self.path.rmdir()


def pause(seconds: float) -> None:
    threading.Event().wait(seconds)


def pss(pids: list[int]) -> int:
    """Octets of memory, pages shared by several processes counted once in all."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
    return total


def rss(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE


def peak_rss(pid: int) -> int:
    """Octets: the most it had at once, since its start or `forget_peak`."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"no VmHWM for {pid}")


def forget_peak(pid: int) -> None:
    """Let the peak start again from what it has now (proc(5), clear_refs)."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


class PeakMemory(threading.Thread):
    """Samples the PSS of a cgroup three times a second until `stop`."""

    def __init__(self, cgroup: Cgroup) -> None:
        super().__init__(daemon=True)
        self._cgroup = cgroup
        self._ended = threading.Event()
        self.octets = self.processes = 0

    def run(self) -> None:
        while not self._ended.wait(0.33):
            pids = self._cgroup.pids()
            self.processes = max(self.processes, len(pids))
            self.octets = max(self.octets, pss(pids))

    def stop(self) -> None:
        self._ended.set()
        self.join()


class Others:
    """CPU that processes outside ``ours`` take: on a shared machine a run may be worthless."""

    def __init__(self, ours: Callable[[], set[int]]) -> None:
        self._ours = ours  # asked anew each time: a relay may start processes under load
        self._ticks = self._now()

    def seconds(self) -> float:
        return sum(t - self._ticks.get(key, 0) for key, t in self._now().items()) / _TICK

    def _now(self) -> dict[tuple[str, str], int]:
        found = {}
        ours = self._ours()
        for entry in os.listdir("/proc"):
            if not entry.isdigit() or int(entry) in ours:
                continue
            try:
                fields = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if fields[1] != "2" and entry != "2":  # kernel threads are nobody's
                found[entry, fields[19]] = int(fields[11]) + int(fields[12])
        return found
