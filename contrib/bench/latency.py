"""latency.py [COUNT]: one 4 KiB message at a time on an idle relay, from connect to the 250."""

from __future__ import annotations

import statistics
import sys
import time

from lab import directory, show, verdict

from tests.e2e.support.client import Client, message
from tests.e2e.support.edgerelay import Edgerelay, relay_config
from tests.e2e.support.tools import SmtpSink

#: Milliseconds, median.
MOST = 3.5


def probe(port: int, count: int) -> list[float]:
    """Milliseconds from connect to the 250 of each of ``count`` messages, unpipelined."""
    content = message(size=4096)
    took = []
    for _ in range(count):
        start = time.perf_counter()
        with Client(port) as client:
            for command in ("MAIL FROM:<a@src.test>", "RCPT TO:<b@example.test>", "DATA"):
                assert client.command(command).code in (250, 354)
            client.write(content + b".\r\n")
            answer = client.read()
            took.append((time.perf_counter() - start) * 1e3)
            assert answer.code == 250, answer
            client.write(b"QUIT\r\n")
    return took


def main() -> int:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    with directory() as path, SmtpSink(path / "sink") as sink:
        config = relay_config(path / "relay", f"smtp://127.0.0.1:{sink.port}")
        with Edgerelay(path / "relay", config) as relay:
            probe(relay.port, 50)
            took = sorted(probe(relay.port, count))
    median = statistics.median(took)
    percentiles = [f"{took[int(len(took) * share)]:.2f}" for share in (0.05, 0.5, 0.95, 0.99)]
    show("connect to 250, ms", ("messages", "p5", "p50", "p95", "p99"), [(count, *percentiles)])
    return verdict((f"median {median:.2f} ms is at most {MOST} ms", median <= MOST))


if __name__ == "__main__":
    sys.exit(main())
