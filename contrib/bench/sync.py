"""sync.py [MESSAGES]: no 250 before the disk has said yes.

strace makes every sync of the worker take 300 ms: so does then every 250, from 20 sessions at
once. Then every sync fails with EIO: there is no 250 at all.
"""

from __future__ import annotations

import sys
import threading
import time

from lab import directory, show, verdict

from tests.e2e.support.client import Answer, Client, Lost, message
from tests.e2e.support.edgerelay import Edgerelay, relay_config
from tests.e2e.support.strace import injected
from tests.e2e.support.tools import SmtpSink

CALLS = "fsync,fdatasync"
DELAY = 0.3  # seconds
SESSIONS = 20


def send_one(port: int) -> tuple[float, Answer]:
    with Client(port) as client:
        for line in ("MAIL FROM:<a@src.test>", "RCPT TO:<b@example.test>", "DATA"):
            if (answer := client.command(line)).code not in (250, 354):
                return 0.0, answer
        client.write(message(size=4096))
        start = time.monotonic()
        answer = client.command(".")
        return time.monotonic() - start, answer


def send_many(port: int, count: int) -> list[tuple[float, Answer | None]]:
    """Seconds from the final dot to its reply, and the reply (None: connection lost)."""
    found: list[tuple[float, Answer | None]] = []

    def session() -> None:
        for _ in range(count // SESSIONS):
            try:
                found.append(send_one(port))
            except (OSError, Lost):
                found.append((0.0, None))

    threads = [threading.Thread(target=session) for _ in range(SESSIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def main() -> int:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    rows, claims = [], []
    with directory() as path, SmtpSink(path / "sink") as sink:
        for name, inject in (("slow", f"delay_exit={DELAY * 1e6:.0f}"), ("EIO", "error=EIO")):
            config = relay_config(path / name, f"smtp://127.0.0.1:{sink.port}")
            with Edgerelay(path / name, config) as relay:
                [worker] = relay.worker_pids()
                with injected(path / f"strace-{name}", worker, inject, CALLS):
                    found = send_many(relay.port, count)
            took = sorted(t for t, answer in found if answer and answer.code == 250)
            refused = sum(1 for _, answer in found if answer and answer.code >= 400)
            rows.append(
                (
                    name,
                    len(found),
                    len(took),
                    refused,
                    f"{took[0] * 1e3:.0f}" if took else "-",
                    f"{took[len(took) // 2] * 1e3:.0f}" if took else "-",
                )
            )
            if name == "slow":
                held = len(took) == count and took[0] >= DELAY
                claims.append((f"each of {count} 250s came {DELAY * 1e3:.0f} ms or later", held))
            else:
                claims.append(("no 250 while every sync fails", not took and refused > 0))
    show("syncs", ("injected", "messages", "250", "4yz/5yz", "min ms", "p50 ms"), rows)
    return verdict(*claims)


if __name__ == "__main__":
    sys.exit(main())
