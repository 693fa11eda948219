"""A plain SMTP client that says exactly what it is told to, and remembers the replies."""

from __future__ import annotations

import contextlib
import socket
import ssl
from dataclasses import dataclass
from types import TracebackType
from typing import Self


class Lost(Exception):
    """The server ended the connection."""


@dataclass(frozen=True, slots=True)
class Answer:
    code: int
    lines: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.code} {' / '.join(self.lines)}"

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


class Client:
    """Connects at once and reads the greeting. Raises `Lost` and OSError.

    ``first`` goes out before the greeting is read, as a proxy's header does.
    """

    def __init__(
        self,
        port: int,
        *,
        helo: str | None = "client.test",
        timeout: float = 30.0,
        first: bytes = b"",
    ) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._lines = self._socket.makefile("rb")
        try:
            self._socket.sendall(first)
            self.greeting = self.read()
            if helo is not None and self.greeting.code == 220:
                self.ehlo = self.command(f"EHLO {helo}")
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._lines.close()
        self._socket.close()

    @property
    def local_port(self) -> int:
        return int(self._socket.getsockname()[1])

    def write(self, data: bytes) -> None:
        self._socket.sendall(data)

    def read(self) -> Answer:
        """One reply."""
        lines = []
        while True:
            line = self._lines.readline()
            if not line.endswith(b"\n"):
                raise Lost(repr(line))
            lines.append(line[4:].decode("utf-8", "replace").rstrip("\r\n"))
            if line[3:4] != b"-":
                return Answer(int(line[:3]), tuple(lines))

    def command(self, line: str) -> Answer:
        self.write(line.encode() + b"\r\n")
        return self.read()

    def start_tls(self, context: ssl.SSLContext, name: str | None = None) -> None:
        """The handshake, after a 220 to STARTTLS."""
        self._lines.close()
        self._socket = context.wrap_socket(self._socket, server_hostname=name)
        self._lines = self._socket.makefile("rb")

    def send(self, mail: str, rcpt: str | list[str], content: bytes) -> Answer:
        """One pipelined transaction; the reply to the final dot, or the first refusal.

        ``mail`` and ``rcpt`` may carry parameters: ``a@b.test> BODY=8BITMIME`` is not needed,
        write ``<a@b.test> BODY=8BITMIME``; bare addresses are given their brackets.
        """
        rcpts = [rcpt] if isinstance(rcpt, str) else rcpt
        commands = [f"MAIL FROM:{_path(mail)}", *(f"RCPT TO:{_path(r)}" for r in rcpts), "DATA"]
        self.write("".join(f"{command}\r\n" for command in commands).encode())
        answers = [self.read() for _ in commands]
        if answers[-1].code != 354:
            self.command("RSET")
            return next(answer for answer in answers if answer.code >= 400)
        self.write(stuffed(content))
        return self.read()


def _path(text: str) -> str:
    return text if text.startswith("<") else f"<{text}>"


def stuffed(content: bytes) -> bytes:
    """The content as it goes over the wire, the final dot included (RFC 5321 section 4.5.2)."""
    text = content.replace(b"\r\n.", b"\r\n..")
    if text.startswith(b"."):
        text = b"." + text
    return text + (b"" if text.endswith(b"\r\n") else b"\r\n") + b".\r\n"


def message(
    subject: str = "a message", *, size: int = 0, identifier: str = "", body: bytes = b""
) -> bytes:
    """A small well-formed message, filled up to about ``size`` octets of short lines."""
    head = (
        f"From: Sender <sender@src.test>\r\nTo: <b@example.test>\r\nSubject: {subject}\r\n"
        "Date: Sat, 21 Nov 2026 22:00:00 +0000\r\n"
        f"Message-ID: <{identifier or subject.replace(' ', '.')}@src.test>\r\n\r\n"
    ).encode()
    line = b"The quick brown fox jumps over the lazy dog, again and again, and once.\r\n"
    filler = line * max(1, (size - len(head) - len(body)) // len(line))
    return head + body + filler
