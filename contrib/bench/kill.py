"""kill.py [KILLS] [KIND ...]: kill -9 so often (20) under load; nothing acknowledged is lost.

KIND is "worker" (one of them; it is started again), "supervisor" (alone; another one is started
at once beside its workers, which finish), "all" (every process; the relay is started again), and
all three unless said otherwise.

Twenty sessions send, note each 250 and come back after every break. Before each kill whoever is to
die is stopped for a moment and its databases copied, so that what was delivered but not yet
committed is known exactly: those messages, and those whose 250 nobody read, are the only ones that
may come twice.
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
from tests.e2e.support.waiting import free_port, pause, wait_for

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
    pids: list[int]
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


def kill(relay: Edgerelay, hop: NextHop, copy: Path, victims: list[int]) -> Kill:
    for victim in victims:
        os.kill(victim, signal.SIGSTOP)
    pause(0.1)  # the next hop answers what it was still given
    confirmed = dict(
        taken.content.decode().split()[::-1] for taken in list(hop.taken) if taken.confirmed
    )
    waiting = {queue_id for victim in victims for queue_id in spooled(victim, copy)}
    done = Kill(time.monotonic(), victims, {confirmed[q] for q in waiting if q in confirmed})
    for victim in victims:
        os.kill(victim, signal.SIGKILL)
    return done


def kill_worker(relay: Edgerelay, hop: NextHop, copy: Path, number: int) -> Kill:
    victim = relay.find("worker_started", worker=number % WORKERS)[-1]["pid"]
    done = kill(relay, hop, copy, [victim])
    wait_for("the worker's successor", lambda: is_replaced(relay, victim), 60)
    return done


def kill_supervisor(relay: Edgerelay, hop: NextHop, copy: Path, number: int) -> Kill:
    done = kill(relay, hop, copy, [relay.pid])
    start_again(relay)
    return done


def kill_all(relay: Edgerelay, hop: NextHop, copy: Path, number: int) -> Kill:
    done = kill(relay, hop, copy, [*relay.worker_pids(), relay.pid])
    start_again(relay)
    return done


KINDS = {"worker": kill_worker, "supervisor": kill_supervisor, "all": kill_all}


def start_again(relay: Edgerelay) -> None:
    relay.expected_exit = None
    relay.stop(signal.SIGKILL)  # it is dead; this forgets it
    relay.start()


def is_replaced(relay: Edgerelay, victim: int) -> bool:
    living = relay.worker_pids()
    return len(living) == WORKERS and victim not in living


@dataclass
class Result:
    kind: str
    kills: list[Kill]
    load: Load
    came: Counter[str]
    held: str
    shards: int

    @property
    def lost(self) -> list[str]:
        return sorted(self.load.acknowledged.keys() - self.came.keys())


def run(kind: str, kills: int) -> Result:
    done: list[Kill] = []
    with directory() as path, NextHop(keep=marks) as hop:
        config = relay_config(
            path / "relay",
            f"smtp://127.0.0.1:{hop.port}",
            listener={"address": f"127.0.0.1:{free_port()}"},
            workers=WORKERS,
        )
        with Edgerelay(path / "relay", config) as relay:
            load = Load(relay.port)
            threads = load.start()
            pause(2)
            for number in range(kills):
                done.append(KINDS[kind](relay, hop, path, number))
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
            with contextlib.suppress(AssertionError):
                wait_for("no more shards than workers", lambda: shards(relay) == WORKERS, 60)
            left = shards(relay)
        came = arrivals(hop)
    return Result(kind, done, load, came, held, left)


def shards(relay: Edgerelay) -> int:
    return len(list((relay.state_dir / "spool").iterdir()))


def arrivals(hop: NextHop) -> Counter[str]:
    return Counter(taken.content.decode().split()[0] for taken in hop.confirmed())


def explained(result: Result) -> tuple[int, int, int]:
    """Duplicates with a reason, at most so many, and those without one."""
    extra = Counter({identifier: n - 1 for identifier, n in result.came.items() if n > 1})
    duplicates = bound = 0
    for number, each in enumerate(result.kills):
        last = number + 1 == len(result.kills)
        after = float("inf") if last else result.kills[number + 1].at
        unread = {i for at, i in result.load.unread if each.at <= at < after}
        bound += len(unread) + len(each.uncommitted)
        # each extra copy is put down to the first kill that may explain it
        for identifier in unread | each.uncommitted:
            if extra[identifier] > 0:
                extra[identifier] -= 1
                duplicates += 1
    return duplicates, bound, sum(n for n in extra.values() if n > 0)


def main() -> int:
    arguments = sys.argv[1:]
    kills = int(arguments.pop(0)) if arguments and arguments[0].isdigit() else 20
    results = [run(kind, kills) for kind in arguments or KINDS]
    rows = []
    for result in results:
        duplicates, bound, unexplained = explained(result)
        back = sorted(each.back_after for each in result.kills)
        rows.append(
            (
                result.kind,
                len(result.kills),
                len(result.load.acknowledged),
                len(result.came.keys() & result.load.acknowledged.keys()),
                len(result.lost),
                duplicates,
                bound,
                unexplained,
                result.held.strip() or "[]",
                result.shards,
                f"{back[len(back) // 2]:.2f}",
            )
        )
    columns = ("kill -9 of", "times", "acknowledged", "delivered", "lost", "duplicates", "bound")
    more = ("unexplained", "held", "shards at the end", "back after s")
    show(f"kill -9 under load, {WORKERS} workers", (*columns, *more), rows)
    for result in results:
        if result.load.refused:
            refusals = result.load.refused.most_common(3)
            show(f"{result.kind}: refusals on the way (tried again)", ("reply", "times"), refusals)
        for identifier in result.lost[:10]:
            print("lost:", identifier)
    return verdict(
        (
            "there was load between the kills",
            all(len(r.load.acknowledged) >= 50 * kills for r in results),
        ),
        ("every acknowledged message arrived", not any(r.lost for r in results)),
        (
            "no more duplicates than each kill explains",
            not any(explained(r)[2] for r in results),
        ),
        ("no shard is left behind", all(r.shards == WORKERS for r in results)),
    )


if __name__ == "__main__":
    sys.exit(main())
