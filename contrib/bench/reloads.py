"""reloads.py [COUNT]: so many (200) rolling restarts under load; no session may fail.

Ten sessions send five messages each, one after the other, and come back. Every reload replaces
all workers. A message that came twice, a session that ended before its QUIT was answered, and any
reply but 250 are failures. So is a last generation that needs more memory than the first.
"""

from __future__ import annotations

import statistics
import sys
import time

from lab import directory, show, verdict
from measure import pss

from tests.e2e.support.edgerelay import Edgerelay, relay_config
from tests.e2e.support.load import Load
from tests.e2e.support.next_hop import NextHop
from tests.e2e.support.waiting import pause, wait_for

WORKERS = 2
#: Messages that the present workers have served when their memory is looked at.
SERVED = 500


def memory(relay: Edgerelay, load: Load) -> float:
    """MiB of a worker of the present generation, once it has served as much as any other."""
    begun = len(load.acknowledged)
    wait_for("messages", lambda: len(load.acknowledged) >= begun + SERVED, 60)
    return pss(relay.worker_pids()) / len(relay.worker_pids()) / 1024 / 1024


def main() -> int:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    took = []
    with directory() as path, NextHop(keep=lambda content: content[:600]) as hop:
        config = relay_config(path / "relay", f"smtp://127.0.0.1:{hop.port}", workers=WORKERS)
        with Edgerelay(path / "relay", config) as relay, Load(relay.port, each=5) as load:
            memory(relay, load)  # the first ones warm up
            assert relay.cli("reload").returncode == 0
            wait_for("two workers", lambda: len(relay.worker_pids()) == WORKERS, 30)
            first = memory(relay, load)
            supervisor = pss([relay.pid]) / 1024 / 1024
            for _ in range(count):
                started = time.monotonic()
                done = relay.cli("reload", timeout=120)
                assert done.returncode == 0, done.stderr
                took.append(time.monotonic() - started)
                pause(0.1)
            wait_for("two workers", lambda: len(relay.worker_pids()) == WORKERS, 30)
            last = memory(relay, load)
            supervisor_after = pss([relay.pid]) / 1024 / 1024
            load.end()
            came = load.wait_delivered(hop)
            ends = {event["status"] for event in relay.find("worker_ended")}
            shards = len(list((relay.state_dir / "spool").iterdir()))
    twice = sum(n > 1 for n in came.values())
    show(
        f"{count} rolling restarts of {WORKERS} workers under load",
        ("sessions", "failed", "refused", "messages", "twice", "a reload takes s"),
        [
            (
                load.finished,
                sum(load.failed.values()),
                sum(load.refused.values()),
                len(load.acknowledged),
                twice,
                f"{statistics.median(took):.2f}",
            )
        ],
    )
    show(
        "memory, MiB",
        ("", "after the first", "after the last", "ratio"),
        [
            ("a worker", f"{first:.1f}", f"{last:.1f}", f"{last / first:.2f}"),
            (
                "the supervisor",
                f"{supervisor:.1f}",
                f"{supervisor_after:.1f}",
                f"{supervisor_after / supervisor:.2f}",
            ),
        ],
    )
    for why, times in [*load.failed.most_common(5), *load.refused.most_common(5)]:
        print(times, why)
    return verdict(
        ("no session failed", not load.failed and not load.refused),
        ("every message came once", load.acknowledged <= came.keys() and not twice),
        ("the last workers need within 10 % of the first ones' memory", 0.9 < last / first < 1.1),
        ("every worker ended by itself", ends == {0}),
        ("no shard is left behind", shards == WORKERS),
    )


if __name__ == "__main__":
    sys.exit(main())
