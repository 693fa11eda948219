"""drive.py PEER WORKLOAD: one run of one relay under one load, as one line of JSON.

A peer is a script ``peers/NAME.sh`` (see peers/lib.sh). Loopback only; every process is
started here and ended by its pid or its cgroup.

    W1  4 KiB, 20 sessions, a new connection for each message
    W3  the same, connections reused
    W4  100 KiB, 20 sessions      W5  5 MiB, 5 sessions
    S1  one session at a time
    W1F W1 with the message of filtered.py, which sets the four below

BENCH_MESSAGE, BENCH_HELO, BENCH_FROM: a file to send, and as whom. BENCH_PRIME: seconds between
a first message, which greylisting defers, and the load.
BENCH_M: this many messages instead. BENCH_ATTEMPTS: repeat a disturbed run so often.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from measure import Cgroup, Others, PeakMemory, pause

HERE = Path(__file__).resolve().parent

#: Above this many cores taken by others, a rate means nothing and the run is repeated.
DISTURBED = 0.15


@dataclass(frozen=True)
class Workload:
    messages: int
    size: int  #: octets; 0: as large as BENCH_MESSAGE
    sessions: int
    reuse: bool = False

    def arguments(self) -> list[str]:
        return [
            *(["-d"] if self.reuse else []),
            *("-s", str(self.sessions), "-m", str(self.messages)),
            *(["-l", str(self.size)] if self.size else []),
        ]


WORKLOADS = {
    "W1": Workload(5000, 4096, 20),
    "W3": Workload(5000, 4096, 20, reuse=True),
    "W4": Workload(1000, 102_400, 20),
    "W5": Workload(40, 5_242_880, 5),
    "S1": Workload(300, 4096, 1),
    "W1F": Workload(3000, 0, 20),
}


class Sink:
    """smtp-sink at the end of the line, and when its counter last moved."""

    def __init__(self, port: int, cgroup: Cgroup) -> None:
        self.count = 0
        self.last = 0.0  # time.monotonic
        self._process = subprocess.Popen(
            ["smtp-sink", "-c", "-u", "nobody", "-m", "20000", f"127.0.0.1:{port}", "4096"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            preexec_fn=cgroup.join,
        )
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        rest = b""
        while octets := os.read(self._process.stdout.fileno(), 1 << 20):
            now = time.monotonic()
            whole, _, rest = (rest + octets).rpartition(b"\r")
            if (counts := re.findall(rb"mesg=(\d+)", whole)) and int(counts[-1]) != self.count:
                self.count, self.last = int(counts[-1]), now
            pause(0.005)  # so that counting costs little

    def wait(self, count: int, within: float) -> None:
        """Return when it has ``count``, or when it has stood still for 25 s."""
        end = time.monotonic() + within
        moved, seen = time.monotonic(), -1
        while self.count < count and time.monotonic() < end:
            if self.count != seen:
                moved, seen = time.monotonic(), self.count
            if time.monotonic() - moved > 25:
                break
            pause(0.01)

    def close(self) -> None:
        self._process.terminate()
        self._process.wait()


class Peer:
    """A relay behind a script, its processes in a cgroup. A context manager."""

    def __init__(self, name: str) -> None:
        self.script = str(HERE / "peers" / f"{name}.sh")
        if not Path(self.script).exists():
            raise SystemExit(f"there is no {self.script}")
        self.directory = Path(tempfile.mkdtemp(prefix=f"bench-{name}-"))
        self.directory.chmod(0o755)  # Postfix's daemons must get through
        self.port, self.sink_port = _free_port(), _free_port()
        self.cgroup = Cgroup("peer")
        self.load = Cgroup("load")
        self.sink_cgroup = Cgroup("sink")
        self.sink: Sink | None = None
        self.recipient = ""
        self._environment = dict(
            os.environ,
            BENCH_PORT=str(self.port),
            BENCH_SINK_PORT=str(self.sink_port),
            BENCH_RUN=str(self.directory),
            # the edgerelay of this environment, unless one is named
            EDGERELAY=os.environ.get("EDGERELAY", f"{sys.executable} -m edgerelay"),
        )

    def __enter__(self) -> Peer:
        try:
            self.recipient = self._ask("rcpt")
            if self._ask("sink") == "1":
                self.sink = Sink(self.sink_port, self.sink_cgroup)
            self._ask("start", self.cgroup)
            self._greeted()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(subprocess.SubprocessError):
            self._ask("stop")
        if self.sink:
            self.sink.close()
        for cgroup in (self.cgroup, self.load, self.sink_cgroup):
            cgroup.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def ours(self) -> set[int]:
        groups = (self.cgroup, self.load, self.sink_cgroup)
        return {os.getpid(), *(pid for group in groups for pid in group.pids())}

    def _ask(self, verb: str, cgroup: Cgroup | None = None) -> str:
        return subprocess.run(
            [self.script, verb],
            env=self._environment,
            preexec_fn=cgroup.join if cgroup else None,
            stdout=subprocess.PIPE,
            text=True,
            timeout=60,
            check=True,
        ).stdout.strip()

    def _greeted(self) -> None:
        end = time.monotonic() + 30
        while time.monotonic() < end:
            with (
                contextlib.suppress(OSError),
                socket.create_connection(("127.0.0.1", self.port), 2) as connection,
            ):
                connection.settimeout(5)
                if connection.recv(512).startswith(b"220"):
                    connection.sendall(b"QUIT\r\n")
                    connection.recv(512)
                    pause(1.0)  # children still starting would be counted
                    return
            pause(0.1)
        log = self.directory / "output.log"
        raise SystemExit(f"no greeting from {self.script}: {log.read_text()[-2000:]}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def sync_time(directory: Path) -> float | None:
    """Median milliseconds of a 4 KiB write and fdatasync, if there is a C compiler."""
    program = Path(tempfile.gettempdir()) / f"fsyncbench.{os.getuid()}"
    try:
        if not program.exists():
            source = str(HERE / "fsyncbench.c")
            subprocess.run(["gcc", "-O2", "-o", str(program), source], check=True)
        done = subprocess.run(
            [program, str(directory), "0.3"], capture_output=True, timeout=20, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return float(json.loads(done.stdout)["p50_ms"])


def quiet(ours: Callable[[], set[int]], limit: float) -> None:
    """Wait, at most ``limit`` seconds, for a second in which nobody else computes."""
    end = time.monotonic() + limit
    while time.monotonic() < end:
        others = Others(ours)
        pause(0.8)
        if others.seconds() < 0.08:
            return


def source(load: Workload, peer: Peer) -> list[str]:
    """The command that sends ``load`` to ``peer``."""
    command = ["smtp-source", *load.arguments()]
    if message := os.environ.get("BENCH_MESSAGE"):
        command += ["-F", message]
    if helo := os.environ.get("BENCH_HELO"):
        command += ["-M", helo]
    reverse_path = os.environ.get("BENCH_FROM", "a@src.test")
    return [*command, "-f", reverse_path, "-t", peer.recipient, f"127.0.0.1:{peer.port}"]


def prime(peer: Peer, seconds: float) -> int:
    """Be deferred once, wait, and pass; return how many messages passed."""
    first = source(Workload(1, 0, 1), peer)
    first.insert(1, "-A")  # a 4yz reply is no reason to give up
    for _ in range(2):
        subprocess.run(first, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=60)
        pause(seconds)
    return peer.sink.count if peer.sink else 0


def run_once(name: str, load: Workload, timeout: float) -> dict[str, object]:
    with Peer(name) as peer:
        before = prime(peer, float(wait)) if (wait := os.environ.get("BENCH_PRIME")) else 0
        quiet(peer.ours, float(os.environ.get("BENCH_QUIET", "10")))
        sync_ms = sync_time(peer.directory)
        memory = PeakMemory(peer.cgroup)
        memory.start()
        others = Others(peer.ours)
        cpu, start = peer.cgroup.cpu(), time.monotonic()
        sending = subprocess.Popen(
            source(load, peer),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            preexec_fn=peer.load.join,
        )
        try:
            _, complaint = sending.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            sending.kill()
            _, complaint = sending.communicate()
        accepted = time.monotonic() - start
        if peer.sink:
            peer.sink.wait(before + load.messages, timeout)
            pause(0.7)  # a duplicate would show
        end_to_end = max(peer.sink.last - start, 1e-6) if peer.sink else accepted
        cpu = peer.cgroup.cpu() - cpu
        elapsed = time.monotonic() - start
        memory.stop()
        arrived = peer.sink.count - before if peer.sink else load.messages
        return {
            "peer": name,
            "messages": load.messages,
            "arrived": arrived,
            "accept_rate": round(load.messages / accepted, 1),
            "rate": round(arrived / end_to_end, 1),
            "cpu_ms": round(cpu / load.messages * 1e3, 3),
            "memory_mb": round(memory.octets / 1e6, 1),
            "processes": memory.processes,
            "sync_ms": sync_ms,
            "others": round(others.seconds() / elapsed, 2),
            "complaint": complaint.decode(errors="replace").strip()[:200],
        }


def run(name: str, workload: str) -> dict[str, object]:
    """One run, repeated while others disturb it (BENCH_ATTEMPTS, default 3 times in all)."""
    load = WORKLOADS[workload]
    if count := os.environ.get("BENCH_M"):
        # the same share of each workload: BENCH_M is W1's count
        scaled = max(20, round(load.messages * int(count) / 5000))
        load = Workload(scaled, load.size, load.sessions, load.reuse)
    attempts = int(os.environ.get("BENCH_ATTEMPTS", "3"))
    timeout = float(os.environ.get("BENCH_TIMEOUT", "150"))
    for attempt in range(1, attempts + 1):
        result = {"workload": workload, **run_once(name, load, timeout), "attempt": attempt}
        if float(str(result["others"])) < DISTURBED:
            break
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("peer")
    parser.add_argument("workload", choices=WORKLOADS)
    arguments = parser.parse_args()
    print(json.dumps(run(arguments.peer, arguments.workload)), flush=True)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    main()
