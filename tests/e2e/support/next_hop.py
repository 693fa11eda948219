"""A next hop in threads that a test can script: one list of answers per moment.

It records what it took, word for word. Blocking sockets: no virtual time here.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from tests.e2e.support.waiting import free_port, pause, wait_for


@dataclass(frozen=True, slots=True)
class Drop:
    """Close the connection instead of answering, after ``say``."""

    say: bytes = b""


@dataclass(frozen=True, slots=True)
class Late:
    """Answer after so many seconds."""

    seconds: float
    answer: bytes = b"250 2.0.0 late but taken\r\n"


#: Octets to send, or something worse.
Answer = bytes | Drop | Late

_DEFAULT: Mapping[str, bytes] = {
    "GREETING": b"220 next-hop.test ESMTP\r\n",
    "HELO": b"250 next-hop.test\r\n",
    "MAIL": b"250 2.1.0 ok\r\n",
    "RCPT": b"250 2.1.5 ok\r\n",
    "DATA": b"354 go on\r\n",
    "DOT": b"250 2.0.0 taken\r\n",
    "RSET": b"250 2.0.0 ok\r\n",
    "NOOP": b"250 2.0.0 ok\r\n",
    "QUIT": b"221 2.0.0 bye\r\n",
}
_EXTENSIONS = b"PIPELINING", b"8BITMIME", b"SMTPUTF8", b"DSN", b"ENHANCEDSTATUSCODES"


@dataclass(frozen=True, slots=True)
class Taken:
    """One message after whose final dot we answered, in whatever way."""

    mail: str  #: the MAIL command
    rcpts: tuple[str, ...]  #: the accepted RCPT commands
    content: bytes  #: dots unstuffed
    at: float  #: `time.monotonic` at the final dot
    confirmed: bool  #: we answered 250


@dataclass
class _Transaction:
    mail: str = ""
    rcpts: list[str] = field(default_factory=list)


class NextHop:
    """``script`` gives, per moment ("GREETING", "EHLO", "MAIL", "RCPT", "DATA", "DOT"), the
    answers to its first occurrences; then the ordinary ones follow.

    Starts and stops any number of times on the same port, and keeps what it took.
    """

    def __init__(
        self,
        *,
        script: Mapping[str, Iterable[Answer]] | None = None,
        extensions: Iterable[bytes] = _EXTENSIONS,
        lmtp: bool = False,
        keep: Callable[[bytes], bytes] = bytes,
    ) -> None:
        self.port = free_port()
        self.taken: list[Taken] = []
        self.commands: list[str] = []
        self.connections = 0
        self._script = {moment: deque(answers) for moment, answers in (script or {}).items()}
        self._extensions = tuple(extensions)
        self._lmtp = lmtp
        self._keep = keep
        self._lock = threading.Lock()
        self._listener: socket.socket | None = None
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self.port))
        listener.listen(200)
        self._listener = listener
        self._spawn(self._accept, listener)

    def stop(self) -> None:
        """Refuse connections from now on and drop the open ones."""
        if self._listener is None:
            return
        listener, self._listener = self._listener, None
        # shutdown wakes the accepting thread; close alone would leave it there
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        self.hang_up()
        for thread in self._threads:
            thread.join(10)
        self._threads.clear()

    def hang_up(self) -> None:
        """Hang up on everybody."""
        with self._lock:
            connections = list(self._open)
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def say(self, moment: str, *answers: Answer) -> None:
        """From now on these are the next answers at ``moment``."""
        with self._lock:
            self._script.setdefault(moment, deque()).extend(answers)

    def wait_taken(self, count: int, timeout: float = 30.0) -> list[Taken]:
        """Wait for that many messages whose final dot was answered 250."""
        return wait_for(
            f"{count} messages at the next hop",
            lambda: done if len(done := self.confirmed()) >= count else None,
            timeout,
        )

    def confirmed(self) -> list[Taken]:
        with self._lock:
            return [taken for taken in self.taken if taken.confirmed]

    def _spawn(self, target: Callable[[socket.socket], None], connection: socket.socket) -> None:
        thread = threading.Thread(target=target, args=(connection,), daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with self._lock:
                self._open.add(connection)
                self.connections += 1
            self._spawn(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with connection.makefile("rb") as lines:
                if self._answer(connection, "GREETING"):
                    self._converse(connection, lines)
        except OSError:
            pass  # the other side, or stop(), ended it
        finally:
            with self._lock:
                self._open.discard(connection)
            connection.close()

    def _converse(self, connection: socket.socket, lines: Iterable[bytes]) -> None:
        now = _Transaction()
        for raw in lines:
            line = raw.decode("utf-8", "replace").strip()
            verb = line.partition(" ")[0].upper()
            with self._lock:
                self.commands.append(line)
            if verb == "DATA":
                if not self._take(connection, lines, now):
                    return
                now = _Transaction()
            elif not self._command(connection, verb, line, now):
                return

    def _command(
        self, connection: socket.socket, verb: str, line: str, now: _Transaction
    ) -> bytes:
        if verb in ("EHLO", "LHLO"):
            options = (b"next-hop.test", *self._extensions)
            text = b"".join(b"250-%s\r\n" % option for option in options[:-1])
            return self._answer(connection, "EHLO", text + b"250 %s\r\n" % options[-1])
        accepted = self._answer(connection, verb, _DEFAULT.get(verb, b"502 5.5.1 what\r\n"))
        if verb == "MAIL":
            now.mail, now.rcpts = line, []
        elif verb == "RCPT" and accepted == b"2":
            now.rcpts.append(line)
        return accepted if verb != "QUIT" else b""

    def _take(self, connection: socket.socket, lines: Iterable[bytes], now: _Transaction) -> bytes:
        go_on = self._answer(connection, "DATA")
        if go_on != b"3":
            return go_on
        content = bytearray()
        for line in lines:
            if line == b".\r\n":
                break
            content += line[1:] if line.startswith(b".") else line
        else:
            return b""
        arrived = time.monotonic()
        said = b""
        for _ in now.rcpts if self._lmtp else now.rcpts[:1]:
            if not (said := self._answer(connection, "DOT")):
                break
        taken = Taken(
            now.mail, tuple(now.rcpts), self._keep(bytes(content)), arrived, said == b"2"
        )
        with self._lock:
            self.taken.append(taken)
        return said

    def _answer(self, connection: socket.socket, moment: str, ordinary: bytes = b"") -> bytes:
        """Answer; the first digit of what was said, or nothing if the connection is over."""
        with self._lock:
            waiting = self._script.get(moment)
            answer: Answer = waiting.popleft() if waiting else ordinary or _DEFAULT[moment]
        if isinstance(answer, Late):
            pause(answer.seconds)
            answer = answer.answer
        if isinstance(answer, Drop):
            connection.sendall(answer.say)
            return b""
        connection.sendall(answer)
        return answer[:1]
