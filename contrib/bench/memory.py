"""memory.py: what 50 MiB messages cost the worker at its peak, one at a time and ten at once."""

from __future__ import annotations

import sys
import threading

from lab import directory, show, verdict
from measure import forget_peak, peak_rss, rss

from tests.e2e.support.client import Client, message
from tests.e2e.support.edgerelay import Edgerelay, relay_config
from tests.e2e.support.tools import SmtpSink
from tests.e2e.support.waiting import pause, wait_for

MIB = 1 << 20
#: Octets of peak growth allowed, for so many 50 MiB messages at once.
MOST = {1: 16 * MIB, 10: 48 * MIB}


def send_together(port: int, count: int, content: bytes) -> None:
    """Fails unless each gets its 250."""
    answers: list[int] = []

    def send() -> None:
        with Client(port, timeout=120) as client:
            client.command("MAIL FROM:<a@src.test>")
            client.command("RCPT TO:<b@example.test>")
            client.command("DATA")
            client.write(content)
            answers.append(client.command(".").code)

    threads = [threading.Thread(target=send) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [250] * count, answers


def wait_count(sink: SmtpSink, count: int) -> None:
    wait_for(f"{count} messages", lambda: sink.count >= count, 120)


def main() -> int:
    # near 50 MiB, below it with our own fields and SMTP's idea of size
    content = message(size=50 * MIB - 65536)
    rows, claims = [], []
    with directory() as path, SmtpSink(path / "sink") as sink:
        config = relay_config(
            path / "relay", f"smtp://127.0.0.1:{sink.port}", limits={"message_size": "51MiB"}
        )
        with Edgerelay(path / "relay", config) as relay:
            for _ in range(50):  # what any message costs once is not counted
                send_together(relay.port, 1, message(size=4096))
            [worker] = relay.worker_pids()
            expected = 50
            for count, most in MOST.items():
                wait_count(sink, expected)
                pause(2)
                before = rss(worker)
                forget_peak(worker)
                send_together(relay.port, count, content)
                expected += count
                wait_count(sink, expected)
                growth = peak_rss(worker) - before
                rows.append((count, f"{before / MIB:.1f}", f"{growth / MIB:.1f}", most // MIB))
                claims.append((f"{count} at once: less than {most // MIB} MiB", growth < most))
    show("50 MiB messages", ("at once", "worker before", "peak growth MiB", "allowed"), rows)
    return verdict(*claims)


if __name__ == "__main__":
    sys.exit(main())
