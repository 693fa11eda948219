"""flood.py [CONNECTIONS]: so many (20,000) in a minute, half of them garbage or hanging.

The other half sends a message each. Afterwards the worker is the same process, its gauges are
zero, its memory is what it was after a quarter of that, and all that was acknowledged has arrived.
Policies are at work. Clients come from 250 addresses of loopback.
"""

from __future__ import annotations

import os
import random
import resource
import socket
import struct
import sys
import threading
import time
from collections import Counter
from contextlib import suppress

from lab import directory, show, verdict

from tests.e2e.support.client import message, stuffed
from tests.e2e.support.edgerelay import Edgerelay, relay_config
from tests.e2e.support.load import arrivals
from tests.e2e.support.next_hop import NextHop
from tests.e2e.support.waiting import pause, wait_for

WITHIN = 60.0
THREADS = 200
#: Hanging ones at once; the relay ends them after its `command_timeout`.
HANGING = 2000
BODY = stuffed(message(identifier="garbage", size=200_000))
BEGUN = (
    b"",
    b"EHLO x.test\r\n",
    b"EHLO x.test\r\nMAIL FROM:<a@src.test>\r\n",
    b"EHLO x.test\r\nMAIL FROM:<a@src.test>\r\nRCPT TO:<b@example.test>\r\n",
    b"EHLO x.test\r\nMAIL FROM:<a@src.test>\r\nRCPT TO:<b@example.test>\r\nDATA\r\n",
)
GARBAGE = (
    lambda: random.randbytes(random.randint(1, 4000)),
    lambda: b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + random.randbytes(200),
    lambda: b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    lambda: b"EHLO " + b"x" * 100_000 + b"\r\n",
    lambda: b"\r\n" * 500,
    lambda: b"RSET\n" * 100,
    lambda: b"HELP\r\n" * 200,
    lambda: random.choice(BEGUN) + b"\x00\xff.\r\n" * 20,
    lambda: BEGUN[-1] + BODY[: random.randint(1, len(BODY) - 3)],
    lambda: BEGUN[-1] + BODY,  # and gone before the answer
)


class Flood:
    def __init__(self, port: int) -> None:
        self.port = port
        self.acknowledged: set[str] = set()
        self.kinds: Counter[str] = Counter()
        self._hanging: list[socket.socket] = []
        self._lock = threading.Lock()
        self._numbers = iter(range(10**9))

    def pour(self, count: int, within: float) -> float:
        """Open that many, evenly over so many seconds; returns how long it took."""
        started = time.monotonic()
        threads = [
            threading.Thread(target=self._some, args=(count // THREADS, started, within))
            for _ in range(THREADS)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        took = time.monotonic() - started
        for hanging in self._hanging:
            hanging.close()
        self._hanging.clear()
        return took

    def _some(self, count: int, started: float, within: float) -> None:
        for number in range(count):
            pause(max(0.0, started + within * number / count - time.monotonic()))
            with self._lock:
                each = next(self._numbers)
            try:
                self._one(each)
            except OSError as error:
                self.kinds[f"({type(error).__name__})"] += 1

    def _one(self, number: int) -> None:
        connection = socket.create_connection(
            ("127.0.0.1", self.port), 30, (f"127.2.0.{number % 250 + 1}", 0)
        )
        if number % 2:
            with connection:
                self._honest(connection, f"f{number}")
            return
        kind = random.randrange(4)
        if kind == 0 and len(self._hanging) < HANGING:
            connection.sendall(random.choice(BEGUN))
            self._hanging.append(connection)
            self.kinds["hangs"] += 1
            return
        with connection, suppress(ConnectionError):
            connection.sendall(random.choice(GARBAGE)())
            if kind == 1:
                connection.shutdown(socket.SHUT_WR)
                self.kinds["half-closes"] += 1
            elif kind == 2:
                linger = struct.pack("ii", 1, 0)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                self.kinds["resets"] += 1
            else:
                self.kinds["garbage"] += 1
                connection.settimeout(2)
                with suppress(TimeoutError):
                    while connection.recv(65536):
                        pass

    def _honest(self, connection: socket.socket, identifier: str) -> None:
        lines = connection.makefile("rb")
        content = stuffed(message(identifier=identifier, size=2000))
        replies = []
        for octets in (
            b"",
            b"EHLO x.test\r\n",
            *(BEGUN[-1].splitlines(keepends=True)[1:]),
            content,
        ):
            connection.sendall(octets)
            while (line := lines.readline())[3:4] == b"-":
                pass
            replies.append(line[:3])
        if replies[-1] == b"250":
            self.acknowledged.add(identifier)
        self.kinds[f"honest: {replies[-1].decode() or 'hung up'}"] += 1


def rss(pid: int) -> int:
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) // 1024


def gauges(relay: Edgerelay) -> dict[str, int]:
    (worker,) = relay.json("status")["workers"]
    return {name: value for name, value in worker["gauges"].items() if value}


def main() -> int:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    resource.setrlimit(resource.RLIMIT_NOFILE, (20_000, 20_000))
    rows = []
    with directory() as path, NextHop(keep=lambda content: content[:600]) as hop:
        config = relay_config(
            path / "relay",
            f"smtp://127.0.0.1:{hop.port}",
            limits={"connections": 10_000, "command_timeout": "5s", "data_timeout": "5s"},
            policy=[{"use": "access"}, {"use": "dkim"}],
        )
        with Edgerelay(path / "relay", config) as relay:
            flood, started = Flood(relay.port), time.monotonic()
            (worker,) = relay.worker_pids()
            memory = []
            for part, within in ((count // 4, WITHIN / 4), (count, WITHIN)):
                took = flood.pour(part, within)
                with suppress(AssertionError):
                    wait_for("the end of all sessions", lambda: not gauges(relay), 60)
                pause(2)
                memory.append(rss(worker))
                rows.append((part, f"{took:.0f}", f"{memory[-1]}"))
            with suppress(AssertionError):
                wait_for("all mail", lambda: flood.acknowledged <= arrivals(hop).keys(), 60)
            left = gauges(relay)
            pause(11)  # the last sum is told within ten seconds
            shed = relay.find("shed")
            lines = [each for each in relay.find("session") if not each["accepted"]]
            empty = sum(1 for each in lines if not each["refused"])
            unwritten = sum((Counter(each["unwritten"]) for each in shed), Counter[str]())
            seconds = time.monotonic() - started
            same = relay.worker_pids() == [worker]
            lost = flood.acknowledged - arrivals(hop).keys()
    show("a flood", ("connections", "seconds", "RSS of the worker MiB"), rows)
    show("what they were", ("kind", "times"), flood.kinds.most_common())
    return verdict(
        (f"{count} connections in about a minute", took < 1.5 * WITHIN),
        ("the worker stays up", same),
        ("half of them were served", len(flood.acknowledged) > 0.45 * 1.25 * count),
        (f"the gauges are back to zero {left or ''}", not left),
        ("memory returns to within 10 %", memory[1] <= 1.1 * memory[0]),
        (f"nothing acknowledged is lost ({len(lost)})", not lost),
        (f"empty sessions have {empty} lines in all", empty <= 200 + 20 * seconds),
        (f"and the log says what has none: {dict(unwritten)}", bool(unwritten)),
    )


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    sys.exit(main())
