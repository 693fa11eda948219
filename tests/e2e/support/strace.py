"""strace on a process that runs already: slow or failing system calls, injected from outside."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path

from tests.e2e.support.process import Server, needs
from tests.e2e.support.waiting import wait_for


class _Strace(Server):
    def wait_ready(self) -> None:
        def attached() -> bool:
            assert self.running, self.died()
            return b"attached" in self.log.read_bytes()

        wait_for("strace to attach", attached)


@contextlib.contextmanager
def injected(directory: Path, pid: int, inject: str, calls: str) -> Iterator[Path]:
    """While inside, ``calls`` ("fsync,fdatasync") of that process and its threads are treated
    as ``inject`` says ("delay_exit=300000", "error=EIO"). Gives the file of the trace."""
    needs("strace")
    trace = directory / "strace.out"
    command = ["strace", "-f", "-p", str(pid), "-e", f"trace={calls}"]
    command += ["-e", f"inject={calls}:{inject}", "-o", str(trace)]
    strace = _Strace(directory, command)
    strace.start()
    try:
        yield trace
    finally:
        strace.stop(signal.SIGINT)
