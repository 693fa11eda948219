"""kill.py [KILLS]: kill -9 of a worker so often (20) under load; nothing acknowledged is lost.

Twenty sessions send, note each 250 and come back after every break. Before each kill the
worker is stopped for a moment and its database copied, so that what was delivered but not
yet committed is known exactly: those messages, and those whose 250 nobody read, are the only
ones that may come twice.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import sqlite3
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from lab import directory, show, verdict

from tests.e2e.support.client import Client, Lost, message
from tests.e2e.support.edgerelay import Edgerelay, relay_config
from tests.e2e.support.next_hop import NextHop
from tests.e2e.support.waiting import pause, wait_for

SESSIONS = 20
#: Taken in turn: a worker that dies again within a minute is restarted ever later.
WORKERS = 4
#: Seconds of load between one kill and the next, once there are as many workers as before.
BETWEEN = 1.5


def marks(content: bytes) -> bytes:
    """What the next hop keeps of a message: its id and the queue id in our Received field."""
    identifier = re.search(rb"Message-ID: <([^@]+)@", content)
    queue_id = re.search(rb"\bid ([A-Za-z0-9]+)", content)
    return b"%s %s" % (identifier[1] if identifier else b"?", queue_id[1] if queue_id else b"?")


@dataclass
class Load:
    """The sessions, and what they know."""

    port: int
    acknowledged: dict[str, float] = field(default_factory=dict)
    unread: list[tuple[float, str]] = field(default_factory=list)  # dot sent, no reply read
    refused: Counter[str] = field(default_factory=Counter)
    ended: threading.Event = field(default_factory=threading.Event)

    def start(self) -> list[threading.Thread]:
        threads = [threading.Thread(target=self._session, args=(n,)) for n in range(SESSIONS)]
        for thread in threads:
            thread.start()
        return threads

    def _session(self, number: int) -> None:
        count = 0
        while not self.ended.is_set():
            try:
                with Client(self.port) as client:
                    while not self.ended.is_set():
                        identifier = f"s{number:02}n{count:06}"
                        if self._send(client, identifier):
                            count += 1
            except (OSError, Lost):
                pause(0.02)

    def _send(self, client: Client, identifier: str) -> bool:
        for line in ("MAIL FROM:<a@src.test>", "RCPT TO:<b@example.test>", "DATA"):
            answer = client.command(line)
            if answer.code not in (250, 354):
                self.refused[str(answer)] += 1
                client.command("RSET")
                return False
        client.write(message(identifier=identifier, size=4096))
        try:
            answer = client.command(".")
        except (OSError, Lost):
            self.unread.append((time.monotonic(), identifier))
            raise
        if answer.code != 250:
            self.refused[str(answer)] += 1
            return False
        self.acknowledged[identifier] = time.monotonic()
        return True


@dataclass
class Kill:
    at: float
    pid: int
    uncommitted: set[str]  # ids that the next hop confirmed and the spool still has
    back_after: float = 0.0  # seconds until there were as many workers as before


def spooled(pid: int, copy: Path) -> set[str]:
    """Queue ids in the database of a stopped worker, read from a copy of it and its log."""
    found: set[str] = set()
    links = {os.path.realpath(link) for link in Path(f"/proc/{pid}/fd").iterdir()}
    for number, wal in enumerate(sorted(link for link in links if link.endswith("-wal"))):
        database = copy / f"copy{number}.db"
        with contextlib.suppress(FileNotFoundError):
            shutil.copyfile(wal.removesuffix("-wal"), database)
            shutil.copyfile(wal, f"{database}-wal")
        connection = sqlite3.connect(database)
        for (table,) in connection.execute("SELECT name FROM sqlite_master WHERE type='table'"):
            columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
            if "queue_id" in columns:
                found |= {str(q) for (q,) in connection.execute(f"SELECT queue_id FROM {table}")}
        connection.close()
    return found


def kill_one(relay: Edgerelay, hop: NextHop, copy: Path, victim: int) -> Kill:
    os.kill(victim, signal.SIGSTOP)
    pause(0.1)  # the next hop answers what it was still given
    confirmed = dict(
        taken.content.decode().split()[::-1] for taken in list(hop.taken) if taken.confirmed
    )
    waiting = spooled(victim, copy)
    kill = Kill(time.monotonic(), victim, {confirmed[q] for q in waiting if q in confirmed})
    os.kill(victim, signal.SIGKILL)
    return kill


def is_replaced(relay: Edgerelay, victim: int) -> bool:
    living = relay.worker_pids()
    return len(living) == WORKERS and victim not in living


def main() -> int:
    kills = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    done: list[Kill] = []
    with directory() as path, NextHop(keep=marks) as hop:
        config = relay_config(path / "relay", f"smtp://127.0.0.1:{hop.port}", workers=WORKERS)
        with Edgerelay(path / "relay", config) as relay:
            load = Load(relay.port)
            threads = load.start()
            pause(2)
            for number in range(kills):
                victim = relay.find("worker_started", worker=number % WORKERS)[-1]["pid"]
                done.append(kill_one(relay, hop, path, victim))
                wait_for("the worker's successor", lambda: is_replaced(relay, done[-1].pid), 60)
                done[-1].back_after = time.monotonic() - done[-1].at
                pause(BETWEEN)
            load.ended.set()
            for thread in threads:
                thread.join()
            with contextlib.suppress(AssertionError):
                wait_for(
                    "everything acknowledged",
                    lambda: load.acknowledged.keys() <= set(arrivals(hop)),
                    60,
                )
            pause(3)  # a late duplicate would show
            held = relay.cli("queue", "list", "--status", "held", "--json").stdout
        came = arrivals(hop)
    return judge(done, load, came, held)


def arrivals(hop: NextHop) -> Counter[str]:
    return Counter(taken.content.decode().split()[0] for taken in hop.confirmed())


def judge(kills: list[Kill], load: Load, came: Counter[str], held: str) -> int:
    lost = sorted(load.acknowledged.keys() - came.keys())
    extra = Counter({identifier: n - 1 for identifier, n in came.items() if n > 1})
    rows, duplicates, bound = [], 0, 0
    for number, kill in enumerate(kills):
        after = kills[number + 1].at if number + 1 < len(kills) else float("inf")
        unread = {i for at, i in load.unread if kill.at <= at < after}
        acknowledged = sum(kill.at <= at < after for at in load.acknowledged.values())
        # each extra copy is put down to the first kill that may explain it
        explained = 0
        for identifier in unread | kill.uncommitted:
            if extra[identifier] > 0:
                extra[identifier] -= 1
                explained += 1
        duplicates += explained
        bound += len(unread) + len(kill.uncommitted)
        rows.append(
            (
                number + 1,
                kill.pid,
                acknowledged,
                len(unread),
                len(kill.uncommitted),
                len(unread) + len(kill.uncommitted),
                explained,
                f"{kill.back_after:.2f}",
            )
        )
    unexplained = sum(n for n in extra.values() if n > 0)
    columns = ("kill", "pid", "250s until the next", "250 not read", "not committed")
    rows.append(("all", "", len(load.acknowledged), "", "", bound, duplicates, ""))
    show("kill -9 under load", (*columns, "bound", "duplicates", "back after s"), rows)
    show(
        "conservation",
        ("acknowledged", "arrived", "lost", "never acknowledged", "unexplained copies", "held"),
        [
            (
                len(load.acknowledged),
                len(came),
                len(lost),
                len(came.keys() - load.acknowledged.keys()),
                unexplained,
                held.strip() or "[]",
            )
        ],
    )
    if load.refused:
        show("refusals on the way (tried again)", ("reply", "times"), load.refused.most_common(5))
    for identifier in lost[:10]:
        print("lost:", identifier)
    return verdict(
        ("there was load between the kills", len(load.acknowledged) >= 50 * len(kills)),
        ("every acknowledged message arrived", not lost),
        ("no more duplicates than each kill explains", unexplained == 0),
    )


if __name__ == "__main__":
    sys.exit(main())
