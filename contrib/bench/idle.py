"""idle.py: what connections cost that said EHLO and then nothing, and what they do to others.

IDLE_COUNT (1000)    held while memory and latency are measured
IDLE_MANY (9000)     held once, with 20,000 file descriptors
IDLE_PROBES (2000)   fresh messages with and without them, in interleaved blocks
"""

from __future__ import annotations

import os
import resource
import selectors
import socket
import statistics
import sys

from lab import directory, show, verdict
from latency import probe
from measure import pss

from tests.e2e.support.edgerelay import Edgerelay, relay_config
from tests.e2e.support.tools import SmtpSink
from tests.e2e.support.waiting import pause

#: Octets for each idle connection.
MOST = 15 * 1024
BLOCKS = 8


def hold(port: int, count: int) -> list[socket.socket]:
    """Open that many connections that got their answer to EHLO. From many addresses, so that
    no limit per client is met by chance."""
    held: list[socket.socket] = []
    while len(held) < count:
        batch = []
        for number in range(len(held), min(count, len(held) + 200)):
            source = (f"127.1.{number // 250}.{number % 250 + 1}", 0)
            batch.append(socket.create_connection(("127.0.0.1", port), 30, source))
        for connection in batch:
            _read_reply(connection)
            connection.sendall(b"EHLO idle.test\r\n")
        for connection in batch:
            _read_reply(connection)
        held += batch
    return held


def _read_reply(connection: socket.socket) -> None:
    heard = b""
    while b"\n" not in heard or heard.rstrip(b"\r\n").rpartition(b"\n")[2][3:4] == b"-":
        octets = connection.recv(4096)
        assert octets, f"the relay hung up: {heard!r}"
        heard += octets
    assert heard.startswith(b"2"), heard


def alive(held: list[socket.socket]) -> int:
    """How many the relay neither closed nor spoke to."""
    with selectors.DefaultSelector() as selector:
        for connection in held:
            selector.register(connection, selectors.EVENT_READ)
        return len(held) - len(selector.select(0))


def main() -> int:
    count = int(os.environ.get("IDLE_COUNT", "1000"))
    many = int(os.environ.get("IDLE_MANY", "9000"))
    probes = int(os.environ.get("IDLE_PROBES", "2000"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (20_000, 20_000))
    rows = []
    with directory() as path, SmtpSink(path / "sink") as sink:
        config = relay_config(
            path / "relay",
            f"smtp://127.0.0.1:{sink.port}",
            limits={"connections": 10_000, "command_timeout": "15m", "session_timeout": "30m"},
        )
        with Edgerelay(path / "relay", config) as relay:
            probe(relay.port, 100)
            pause(1)
            processes = [relay.pid, *relay.worker_pids()]
            before = pss(processes)
            held = hold(relay.port, count)
            pause(2)
            each = (pss(processes) - before) / count
            rows.append((count, len(held), f"{each / 1024:.1f} KiB"))
            for connection in held:
                connection.close()
            quiet: list[float] = []
            crowded: list[float] = []
            for _ in range(BLOCKS):
                quiet += probe(relay.port, probes // BLOCKS)
                held = hold(relay.port, count)
                pause(0.5)
                crowded += probe(relay.port, probes // BLOCKS)
                for connection in held:
                    connection.close()
                pause(0.5)
            before = pss(processes)
            held = hold(relay.port, many)
            pause(2)
            each_of_many = (pss(processes) - before) / many
            probe(relay.port, 20)
            lasting = alive(held)
            rows.append((many, lasting, f"{each_of_many / 1024:.1f} KiB"))
    show("idle connections", ("asked", "held", "each"), rows)
    medians = statistics.median(quiet), statistics.median(crowded)
    columns = ("probes of each", "alone p50 ms", f"with {count} idle p50 ms", "ratio")
    show(
        "a fresh message, connect to 250",
        columns,
        [(len(quiet), *(f"{m:.2f}" for m in medians), f"{medians[1] / medians[0]:.2f}")],
    )
    return verdict(
        (f"an idle connection costs less than {MOST // 1024} KiB", each < MOST),
        (f"{many} are held with 20,000 file descriptors", lasting == many),
        ("latency stays within twice that of an idle relay", medians[1] <= 2 * medians[0]),
    )


if __name__ == "__main__":
    sys.exit(main())
