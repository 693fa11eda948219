"""A client that a test lets talk SMTP to a relay, line by line or a whole message at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from edgerelay.net.transport import Transport, TransportError


class HungUp(Exception):
    """The relay has ended the connection."""


@dataclass(slots=True)
class Sent:
    """What a client heard while it sent a message. "" where it did not get so far.

    A reply is its text without CRLF; lines of a longer one are separated by newlines.
    """

    greeting: str = ""
    hello: str = ""
    mail: str = ""
    rcpt: dict[str, str] = field(default_factory=dict)  #: by recipient, as it was given
    data: str = ""
    dot: str = ""  #: the answer to the final dot
    #: The last reply before QUIT: the one that a sender's queue would show.
    reply: str = ""

    @property
    def is_accepted(self) -> bool:
        """The message was taken, for those whose RCPT was."""
        return self.dot.startswith("2")

    @property
    def is_deferred(self) -> bool:
        """A sender would try again: some recipient, or all, had a 4yz."""
        said = (self.greeting, self.hello, self.mail, *self.rcpt.values(), self.data, self.dot)
        return any(reply.startswith("4") for reply in said)


class SmtpClient:
    """Says lines and hears replies over a transport; see `RelayHarness.connect`."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport
        self._buffer = b""

    async def say(self, *lines: str) -> None:
        """Send these lines in one write; `hear` each reply. Raises `HungUp`."""
        await self.send("".join(f"{line}\r\n" for line in lines).encode())

    async def send(self, octets: bytes) -> None:
        """Send octets as they are. Raises `HungUp`."""
        try:
            await self.transport.send(octets)
        except TransportError as error:
            raise HungUp(str(error)) from None

    async def hear(self) -> str:
        """Return one whole reply. Raises `HungUp` if none will come."""
        lines: list[str] = []
        while True:
            line = await self._line()
            lines.append(line)
            if line[3:4] != "-":
                return "\n".join(lines)

    async def ask(self, line: str) -> str:
        """Say a line and return what is said to it. Raises `HungUp`."""
        await self.say(line)
        return await self.hear()

    async def _line(self) -> str:
        while b"\r\n" not in self._buffer:
            try:
                octets = await self.transport.receive()
            except TransportError as error:
                raise HungUp(str(error)) from None
            if not octets:
                raise HungUp("end of stream")
            self._buffer += octets
        line, self._buffer = self._buffer.split(b"\r\n", 1)
        return line.decode("utf-8", "backslashreplace")

    async def send_message(
        self,
        *,
        helo: str,
        mail_from: str,
        rcpt_to: Sequence[str],
        message: bytes,
        parameters: Mapping[str, str],
    ) -> Sent:
        """Go through a whole session as a plain sender does: one command at a time, and QUIT."""
        sent = Sent()
        try:
            await self._go_through(sent, helo, mail_from, rcpt_to, message, parameters)
            await self.ask("QUIT")
        except HungUp:
            pass
        await self.transport.aclose(linger=False)
        return sent

    async def _go_through(
        self,
        sent: Sent,
        helo: str,
        mail_from: str,
        rcpt_to: Sequence[str],
        message: bytes,
        parameters: Mapping[str, str],
    ) -> None:
        sent.greeting = sent.reply = await self.hear()
        if not sent.greeting.startswith("2"):
            return
        sent.hello = sent.reply = await self.ask(f"EHLO {helo}")
        if not sent.hello.startswith("2"):
            return
        after = "".join(f" {key}={value}" for key, value in parameters.items())
        sent.mail = sent.reply = await self.ask(f"MAIL FROM:<{mail_from}>{after}")
        if not sent.mail.startswith("2"):
            return
        for recipient in rcpt_to:
            sent.rcpt[recipient] = sent.reply = await self.ask(f"RCPT TO:<{recipient}>")
        if not any(reply.startswith("2") for reply in sent.rcpt.values()):
            return
        sent.data = sent.reply = await self.ask("DATA")
        if sent.data.startswith("3"):
            await self.send(stuffed(message) + b".\r\n")
            sent.dot = sent.reply = await self.hear()


def stuffed(content: bytes) -> bytes:
    """Double the dots that begin a line (RFC 5321 section 4.5.2), and end the last line."""
    if content and not content.endswith(b"\r\n"):
        content += b"\r\n"
    dotted = content.replace(b"\r\n.", b"\r\n..")
    return b"." + dotted if dotted.startswith(b".") else dotted
