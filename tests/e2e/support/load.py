"""Sessions that send one message after the other until they are told to stop."""

from __future__ import annotations

import re
import threading
from collections import Counter
from types import TracebackType
from typing import Self

from tests.e2e.support.client import Client, Lost, message
from tests.e2e.support.next_hop import NextHop
from tests.e2e.support.waiting import pause, wait_for


class Load:
    """``sessions`` at once; each sends ``each`` messages over a connection (0: as many as it can).

    A session that ends before its QUIT was answered is `failed`, with the reason; one that is
    answered anything but 250 is `refused`.
    """

    def __init__(self, port: int, sessions: int = 10, each: int = 0, size: int = 0) -> None:
        self.acknowledged: set[str] = set()
        self.failed: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.finished = 0  #: sessions that went as they should
        self._port = port
        self._each = each
        self._size = size
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(n,)) for n in range(sessions)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.end()

    def end(self) -> None:
        """Let every session finish what it is at."""
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def wait_delivered(self, hop: NextHop, timeout: float = 60.0) -> Counter[str]:
        """Wait until all that was acknowledged has arrived; return how often each did."""
        wait_for(
            "all that was acknowledged", lambda: self.acknowledged <= arrivals(hop).keys(), timeout
        )
        return arrivals(hop)

    def _run(self, number: int) -> None:
        sent = 0
        while not self._ended.is_set():
            try:
                with Client(self._port) as client:
                    if client.greeting.code != 220:
                        self.refused[str(client.greeting)] += 1
                        continue
                    sent = self._send_some(client, f"s{number}n", sent)
                    client.command("QUIT")
                    self.finished += 1
            except (OSError, Lost) as error:
                self.failed[f"{type(error).__name__}: {error}"] += 1
                sent += 1
                pause(0.02)

    def _send_some(self, client: Client, prefix: str, sent: int) -> int:
        first = sent
        while not self._ended.is_set() and not (self._each and sent >= first + self._each):
            identifier = f"{prefix}{sent}"
            content = message(identifier=identifier, size=self._size)
            answer = client.send("a@src.test", "b@example.test", content)
            if answer.code == 250:
                self.acknowledged.add(identifier)
            else:
                self.refused[str(answer)] += 1
            sent += 1
        return sent


def arrivals(hop: NextHop) -> Counter[str]:
    """How often each identifier came to a next hop."""
    found = (re.search(rb"Message-ID: <(\w+)@", taken.content) for taken in hop.confirmed())
    return Counter(match[1].decode() for match in found if match)
