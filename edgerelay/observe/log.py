"""Events become lines on standard error, written by a thread that the mail never waits for.

JSON lines, or one-liners on a terminal. What does not fit into the bounded queue is dropped,
counted, and told of in a line of its own. Levels and forms are those of `observe.lines`.
"""

from __future__ import annotations

import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Final, Protocol

from edgerelay.observe.events import Dropped, Event
from edgerelay.observe.lines import json_line, pretty_line

#: Events that may wait: at a thousand messages a second, three seconds of a stuck terminal.
CAPACITY: Final = 10_000
#: Octets the kernel writes to a pipe in one piece (PIPE_BUF): so lines of several processes
#: that share a standard error do not mix.
ATOMIC: Final = 4096
#: Seconds between two rounds of writing under load. Waking the thread for every event would
#: cost the loop a switch each time; the first event after a quiet spell is written at once.
LINGER: Final = 0.02
#: Seconds that one write may be stuck before its lines are dropped.
STUCK: Final = 5.0


class Stream(Protocol):
    """What we need of `sys.stderr`."""

    def fileno(self) -> int: ...
    def isatty(self) -> bool: ...


class LogWriter:
    """An observer that writes. Costs about 1 µs a call; safe from any thread.

    ``pretty`` None: ask the stream whether it is a terminal. ``worker`` is put into every
    line. A stream that is gone (EPIPE, closed) never raises: its events count as dropped.
    """

    def __init__(
        self,
        stream: Stream,
        *,
        clock: Callable[[], float],
        pretty: bool | None = None,
        worker: int | None = None,
        capacity: int = CAPACITY,
    ) -> None:
        self._fd: Final = stream.fileno()
        self._clock: Final = clock
        self._line: Final = (
            pretty_line if (stream.isatty() if pretty is None else pretty) else json_line
        )
        self._worker: Final = worker
        self._capacity: Final = capacity
        self._queue: Final[deque[tuple[float, Event]]] = deque()
        self._overflow = 0  # events that found the queue full
        self._unwritten = 0  # events whose line could not be written
        self._told = 0
        self._wake: Final = threading.Event()
        self._closing: Final = threading.Event()
        self._thread: Final = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def __call__(self, event: Event, /) -> None:
        if len(self._queue) >= self._capacity:
            self._overflow += 1
            return
        self._queue.append((self._clock(), event))
        # Set or not, the thread clears this before it empties the queue: nothing is missed.
        if not self._wake.is_set():
            self._wake.set()

    @property
    def dropped(self) -> int:
        """Events that never became a line."""
        return self._overflow + self._unwritten

    def close(self, within: float = 2.0) -> bool:
        """Write what waits, for at most ``within`` seconds. True if all of it was written."""
        self._closing.set()
        self._wake.set()
        self._thread.join(within)
        return not self._thread.is_alive() and not self._queue

    def __enter__(self) -> LogWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    # The thread.

    def _run(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            closing = self._closing.is_set()
            self._write_all()
            if closing:
                return
            self._closing.wait(LINGER)

    def _write_all(self) -> None:
        """Everything that is there now, in writes of whole lines."""
        while self._queue:
            self._tell_of_dropped()
            taken = [self._queue.popleft() for _ in range(min(len(self._queue), 1000))]
            lines = (self._line(at, event, self._worker) for at, event in taken)
            for batch in self._batches(lines):
                if not self._write(b"".join(batch)):
                    self._unwritten += len(batch)
        self._tell_of_dropped()

    def _tell_of_dropped(self) -> None:
        missing = self.dropped - self._told
        if missing and self._write(
            self._line(self._clock(), Dropped(count=missing), self._worker)
        ):
            self._told += missing

    @staticmethod
    def _batches(lines: Iterable[bytes]) -> Iterable[list[bytes]]:
        batch: list[bytes] = []
        size = 0
        for line in lines:
            if batch and size + len(line) > ATOMIC:
                yield batch
                batch, size = [], 0
            batch.append(line)
            size += len(line)
        if batch:
            yield batch

    def _write(self, data: bytes) -> bool:
        """Write it all; False if the stream is gone or stuck."""
        deadline = time.monotonic() + STUCK
        while data:
            try:
                data = data[os.write(self._fd, data) :]
            except BlockingIOError:  # somebody made our standard error non-blocking
                left = deadline - time.monotonic()
                if left <= 0:
                    return False
                select.select([], [self._fd], [], min(left, 0.5))
            except OSError:
                return False
        return True
