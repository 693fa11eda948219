"""crowd.py: 9,000 connections in one worker, idle ones and such as drip, and what others feel.

CROWD (9000)          connections held, in the clear
CROWD_TLS (2000)      held in TLS: the client's side of one is a process's memory, too
CROWD_PROBES (2000)   fresh messages with the crowd and as many without, in each of three rounds
CROWD_DRIPS (200)     clients that send an octet a second, for each of a command and of content
"""

from __future__ import annotations

import os
import resource
import socket
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from idle import alive, hold
from lab import directory, show, verdict
from latency import probe
from measure import pss

from tests.e2e.support.edgerelay import Edgerelay, relay_config
from tests.e2e.support.tls import issue, untrusting
from tests.e2e.support.tools import SmtpSink
from tests.e2e.support.waiting import pause

#: Octets for each idle connection, in the clear and in TLS.
MOST, MOST_TLS = 10 * 1024, 30 * 1024
ROUNDS = 3
#: Seconds that a dripping client may take for a command, and for content.
COMMAND, DATA = 10, 10
BEGUN = b"EHLO d.test\r\nMAIL FROM:<a@src.test>\r\nRCPT TO:<b@example.test>\r\nDATA\r\n"


def setting(name: str, default: int) -> int:
    return int(os.environ.get(name, default))


def p99(took: list[float]) -> float:
    return statistics.quantiles(took, n=100)[98]


def hold_in_tls(port: int, count: int) -> list[socket.socket]:
    context = untrusting()
    held = []
    for number in range(count):
        source = (f"127.1.{number // 250}.{number % 250 + 1}", 0)
        connection = socket.create_connection(("127.0.0.1", port), 30, source)
        connection.recv(4096)
        connection.sendall(b"EHLO idle.test\r\n")
        connection.recv(4096)
        connection.sendall(b"STARTTLS\r\n")
        connection.recv(4096)
        secured = context.wrap_socket(connection)
        secured.sendall(b"EHLO idle.test\r\n")
        secured.recv(4096)
        held.append(secured)
    return held


def close(held: list[socket.socket]) -> None:
    for connection in held:
        connection.close()


def drip(port: int, count: int) -> tuple[float, int]:
    """Let so many drip a command, and so many content; return when the last one was ended, in
    seconds, and how many were not ended in thrice their time."""
    begun = time.monotonic()
    left: list[socket.socket] = []
    for number in range(2 * count):
        source = (f"127.3.{number // 250}.{number % 250 + 1}", 0)
        connection = socket.create_connection(("127.0.0.1", port), 30, source)
        if number % 2:
            connection.sendall(BEGUN)
        connection.setblocking(False)
        left.append(connection)
    last = 0.0
    while left and time.monotonic() - begun < 3 * (COMMAND + DATA):
        pause(1)
        for connection in list(left):
            if is_ended(connection):
                last = time.monotonic() - begun
                connection.close()
                left.remove(connection)
    remaining = len(left)
    close(left)
    return last, remaining


def is_ended(connection: socket.socket) -> bool:
    try:
        while connection.recv(4096):
            pass
        return True
    except BlockingIOError:
        pass
    except ConnectionError:
        return True
    try:
        connection.send(b"x")
    except BlockingIOError:
        pass
    except ConnectionError:
        return True
    return False


def relay_beside(directory: Path, config: dict[str, Any]) -> Edgerelay:
    """Another relay, with nothing of the first one's."""
    directory.mkdir()
    return Edgerelay(directory, config | {"state_dir": str(directory / "state")})


def main() -> int:
    count, in_tls = setting("CROWD", 9000), setting("CROWD_TLS", 2000)
    probes, drips = setting("CROWD_PROBES", 2000), setting("CROWD_DRIPS", 200)
    resource.setrlimit(resource.RLIMIT_NOFILE, (20_000, 20_000))
    limits = {"connections": 10_000, "command_timeout": "15m", "session_timeout": "30m"}
    ratios, rows = [], []
    with directory() as path, SmtpSink(path / "sink") as sink:
        config = relay_config(
            path / "relay",
            f"smtp://127.0.0.1:{sink.port}",
            listener={"tls": "starttls"},
            limits=limits,
            tls=issue(path, "localhost"),
        )
        with Edgerelay(path / "relay", config) as relay:
            probe(relay.port, 200)
            pause(1)
            processes = [relay.pid, *relay.worker_pids()]
            before = pss(processes)
            for _ in range(ROUNDS):
                alone = p99(probe(relay.port, probes))
                held = hold(relay.port, count)
                pause(2)
                each = (pss(processes) - before) / count
                crowded = p99(probe(relay.port, probes))
                lasting = alive(held)
                close(held)
                pause(3)
                ratios.append(crowded / alone)
                rows.append(
                    (count, lasting, f"{each / 1024:.1f}", f"{alone:.2f}", f"{crowded:.2f}")
                )
        with relay_beside(path / "tls", config) as relay:
            # Memory that the crowd gave back would make these look cheap.
            for connection in hold_in_tls(relay.port, 20):
                connection.close()
            processes = [relay.pid, *relay.worker_pids()]
            before = pss(processes)
            held = hold_in_tls(relay.port, in_tls)
            pause(2)
            each_tls = (pss(processes) - before) / in_tls
            close(held)
        config["limits"] |= {"command_timeout": f"{COMMAND}s", "data_timeout": f"{DATA}s"}
        with relay_beside(path / "drips", config) as relay:
            ended, undone = drip(relay.port, drips)
    show("a crowd", ("connections", "held", "KiB each", "alone p99 ms", "crowded p99 ms"), rows)
    show("in TLS", ("connections", "KiB each"), [(in_tls, f"{each_tls / 1024:.1f}")])
    show("drips", ("clients", "the last one ended after s"), [(2 * drips, f"{ended:.0f}")])
    ratio = statistics.median(ratios)
    return verdict(
        (f"an idle connection costs at most {MOST // 1024} KiB", each <= MOST),
        (f"one in TLS at most {MOST_TLS // 1024} KiB", each_tls <= MOST_TLS),
        ("all of them are held", lasting == count),
        (f"p99 within twice that without a crowd: {ratio:.2f}", ratio <= 2),
        ("who drips is ended by its deadline", not undone and ended <= COMMAND + DATA + 5),
    )


if __name__ == "__main__":
    sys.exit(main())
