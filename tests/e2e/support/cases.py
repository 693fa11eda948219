"""SMTP cases: dialogues written down in YAML, held with a real listener.

A case has `name`, `rfc`, `severity` and `steps`, perhaps `listener`, `needs` and `unless` (EHLO
keywords), and what must come of it at the next hop: `delivered`, `forbid_next_hop_violations`.
"""

from __future__ import annotations

import re
import socket
import ssl
import struct
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final

import yaml

from tests.e2e.support.next_hop import NextHop, Taken
from tests.e2e.support.tls import untrusting
from tests.e2e.support.waiting import pause

CASES: Final = Path(__file__).parents[1] / "cases"
PLACES: Final = {
    "RCPT": "user@local.test",
    "UNKNOWN": "nobody-here@local.test",
    "FOREIGN": "foreign.example",
    "MAXSIZE": "1000000",
    "OVERSIZE": "50000000",
}
#: Seconds for a reply, unless the step says otherwise.
PATIENCE: Final = 15.0
KNOWN_VERBS: Final = frozenset({"EHLO", "MAIL", "RCPT", "DATA", "RSET", "NOOP", "QUIT", "BDAT"})

Step = Mapping[str, Any]


def all_cases() -> list[dict[str, Any]]:
    return [
        case for path in sorted(CASES.glob("*.yaml")) for case in yaml.safe_load(path.read_text())
    ]


class Closed(Exception):
    """The server hung up."""


class Silence(Exception):
    """No reply came in time."""


@dataclass
class Conversation:
    """One connection that holds a dialogue. ``token`` stands for {TOKEN}."""

    port: int
    token: str

    def __post_init__(self) -> None:
        self._socket = socket.create_connection(("127.0.0.1", self.port), 30)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = b""
        self._places = {**PLACES, "TOKEN": self.token}

    def close(self) -> None:
        self._socket.close()

    # -- octets ------------------------------------------------------------------------------

    def _write(self, data: bytes, step: Step) -> None:
        try:
            self._socket.settimeout(30)
            self._socket.sendall(data)
        except OSError:
            if not step.get("may_close"):
                raise

    def _fill(self, until: float) -> None:
        self._socket.settimeout(max(0.01, until - time.monotonic()))
        try:
            data = self._socket.recv(65536)
        except TimeoutError:
            raise Silence from None
        except OSError:
            raise Closed from None
        if not data:
            raise Closed
        self._buffer += data

    def reply(self, timeout: float = PATIENCE) -> str:
        """One whole reply, its lines joined by newlines."""
        until = time.monotonic() + timeout
        lines: list[str] = []
        while True:
            line, crlf, rest = self._buffer.partition(b"\r\n")
            if not crlf:
                self._fill(until)
                continue
            self._buffer = rest
            lines.append(line.decode("utf-8", "replace"))
            if line[3:4] != b"-":
                return "\n".join(lines)

    def _text(self, text: object) -> str:
        said = str(text)
        for name, value in self._places.items():
            said = said.replace("{" + name + "}", value)
        return said

    def _octets(self, text: object) -> bytes:
        return self._text(text).encode()

    # -- steps -------------------------------------------------------------------------------

    def hold(self, steps: list[Step]) -> None:
        for step in steps:
            for kind, do in _STEPS.items():
                if kind in step:
                    do(self, step)
                    break
            else:
                raise ValueError(f"no such step: {step}")

    def _repeat(self, step: Step) -> None:
        rest = {key: value for key, value in step.items() if key != "repeat"}
        for number in range(int(step["repeat"])):
            self._places["I"] = str(number)
            said = [key for key in ("send", "raw", "hex", "bdat") if key in rest]
            heard = {key: value for key, value in rest.items() if key not in said}
            try:
                for key in said:
                    self.hold([{key: rest[key], "may_close": True}])
                if heard:
                    self.hold([heard])
            except Closed:
                return  # as `expect_or_close` allows
            if self._is_closed():
                return

    def _is_closed(self) -> bool:
        if self._buffer:
            return False
        self._socket.settimeout(0.0)
        try:
            data = self._socket.recv(1, socket.MSG_PEEK) if not self._is_tls else b"?"
        except (BlockingIOError, ssl.SSLWantReadError):
            return False
        except OSError:
            return True
        return not data

    @property
    def _is_tls(self) -> bool:
        return isinstance(self._socket, ssl.SSLSocket)

    def _send(self, step: Step) -> None:
        self._write(self._octets(step["send"]) + b"\r\n", step)

    def _raw(self, step: Step) -> None:
        self._write(self._octets(step["raw"]), step)

    def _hex(self, step: Step) -> None:
        self._write(bytes.fromhex(str(step["hex"])), step)

    def _fill_up(self, step: Step) -> None:
        before, after = self._octets(step.get("before", "")), self._octets(step.get("after", ""))
        filler = self._octets(step["fill"]) * int(step["count"])
        self._write(before + filler + after, step)

    def _drip(self, step: Step) -> None:
        for octet in self._octets(step["drip"]):
            self._write(bytes([octet]), step)
            pause(float(step.get("every", 0.002)))

    def _chunk(self, content: bytes, last: object) -> bytes:
        word = " LAST" if last is True else f" {last}" if last else ""
        return b"BDAT %d%b\r\n" % (len(content), word.encode()) + content

    def _bdat(self, step: Step) -> None:
        self._write(self._chunk(self._octets(step["bdat"]), step.get("last")), step)

    def _bdat_bytes(self, step: Step) -> None:
        content = bytes.fromhex(str(step["bdat_bytes"]))
        self._write(self._chunk(content, step.get("last")), step)

    def _bdat_fill(self, step: Step) -> None:
        content = self._octets(step["bdat_fill"]) * int(step["count"])
        self._write(self._chunk(content, step.get("last")), {**step, "may_close": True})

    def _bdat_many(self, step: Step) -> None:
        """So many chunks, each answered; the last is the last if the step says so."""
        count, content = int(step["count"]), self._octets(step["bdat_many"])
        for number in range(count):
            last = step.get("last") if number == count - 1 else None
            self._write(self._chunk(content, last), step)
            if not last:
                assert self.reply().startswith("250")

    def _expect(self, step: Step) -> None:
        said = self._heard(step)
        if said is not None:
            wanted = self._text(step["expect"])
            assert re.search(wanted, said), f"{said!r} instead of {wanted!r}"

    def _expect_or_close(self, step: Step) -> None:
        try:
            said = self._heard(step)
        except Closed:
            return
        if said is not None:
            wanted = self._text(step["expect_or_close"])
            assert re.search(wanted, said), f"{said!r} instead of {wanted!r} or the end"

    def _heard(self, step: Step) -> str | None:
        try:
            return self.reply(float(step.get("timeout", PATIENCE)))
        except Silence:
            if step.get("timeout_ok"):
                return None
            raise

    def _expect_branch(self, step: Step) -> None:
        """Goes on with the steps of the first pattern that fits."""
        said = self.reply(float(step.get("timeout", PATIENCE)))
        branches = step["expect_branch"]
        pairs = branches.items() if isinstance(branches, dict) else [b for b in branches]
        for pair in pairs:
            pattern, steps = pair if not isinstance(pair, dict) else next(iter(pair.items()))
            if re.search(self._text(pattern), said):
                self.hold(steps or [])
                return
        raise AssertionError(f"{said!r} fits none of {branches}")

    def _not(self, step: Step) -> None:
        said = self.reply(float(step.get("timeout", PATIENCE)))
        assert not re.search(self._text(step["not"]), said), said

    def _not_reply(self, step: Step) -> None:
        until = time.monotonic() + float(step.get("timeout", 2))
        with suppress(Silence, Closed):
            while True:
                said = self.reply(until - time.monotonic())
                assert not re.search(self._text(step["not_reply"]), said), said

    def _quiet(self, step: Step) -> None:
        try:
            said = self.reply(float(step["quiet"]))
        except (Silence, Closed):
            assert not self._buffer
        else:
            raise AssertionError(f"{said!r} instead of silence")

    def _closed(self, step: Step) -> None:
        try:
            while True:
                self.reply(float(step["closed"]))
        except Closed:
            return
        except Silence:
            raise AssertionError("the connection stays open") from None

    def _drain(self, step: Step) -> None:
        until = time.monotonic() + float(step["drain"])
        with suppress(Silence, Closed):
            while True:
                self.reply(until - time.monotonic())

    def _starttls(self, _: Step) -> None:
        self._socket.settimeout(30)
        self._socket = untrusting().wrap_socket(self._socket)

    def _disconnect(self, step: Step) -> None:
        if step["disconnect"] == "rst":
            linger = struct.pack("ii", 1, 0)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self._socket.close()

    def _other_session(self, _: Step) -> None:
        other = Conversation(self.port, self.token)
        assert other.reply().startswith("220")
        other.hold([{"send": "EHLO other.example"}, {"expect": "^250"}])
        other.close()

    def _sleep(self, step: Step) -> None:
        pause(float(step["sleep"]))

    def _proxy2(self, step: Step) -> None:
        header = step["proxy2"]
        source = ip_address(header.get("src", "192.0.2.1"))
        to = ip_address("127.0.0.1" if source.version == 4 else "::1")
        body = source.packed + to.packed + struct.pack("!HH", 40000, 25)
        family = 0x11 if source.version == 4 else 0x21
        command = 0x20 | int(header.get("cmd", 1))
        start = b"\r\n\r\n\x00\r\nQUIT\n" + bytes([command, family])
        self._write(start + struct.pack("!H", len(body)) + body, step)


_STEPS: Final[Mapping[str, Callable[[Conversation, Step], None]]] = {
    "repeat": Conversation._repeat,
    "send": Conversation._send,
    "raw": Conversation._raw,
    "hex": Conversation._hex,
    "fill": Conversation._fill_up,
    "drip": Conversation._drip,
    "bdat_fill": Conversation._bdat_fill,
    "bdat_many": Conversation._bdat_many,
    "bdat_bytes": Conversation._bdat_bytes,
    "bdat": Conversation._bdat,
    "expect": Conversation._expect,
    "expect_or_close": Conversation._expect_or_close,
    "expect_branch": Conversation._expect_branch,
    "not": Conversation._not,
    "not_reply": Conversation._not_reply,
    "quiet": Conversation._quiet,
    "closed": Conversation._closed,
    "drain": Conversation._drain,
    "starttls": Conversation._starttls,
    "disconnect": Conversation._disconnect,
    "other_session": Conversation._other_session,
    "sleep": Conversation._sleep,
    "proxy2": Conversation._proxy2,
}


def keywords_of(port: int, first: bytes = b"") -> set[str]:
    """What EHLO offers there; ``first`` goes before it all."""
    conversation = Conversation(port, "")
    conversation._write(first, {})
    assert conversation.reply().startswith("220")
    conversation._write(b"EHLO client.example\r\n", {})
    lines = conversation.reply().split("\n")[1:]
    conversation.close()
    return {line[4:].split(" ")[0].upper() for line in lines}


def check_delivered(wanted: Mapping[str, Any], taken: list[Taken], token: str) -> None:
    """``taken`` are the messages that came of the case."""
    if "count" in wanted:
        assert len(taken) == wanted["count"]
    assert wanted.get("min", 0) <= len(taken) <= wanted.get("max", 1000)
    for message in taken:
        if "rcpts" in wanted:
            assert len(message.rcpts) == wanted["rcpts"]
        if "mail_match" in wanted:
            assert re.search(wanted["mail_match"], message.mail), message.mail
        if "rcpt_match" in wanted:
            assert any(re.search(wanted["rcpt_match"], rcpt) for rcpt in message.rcpts)
        for text in wanted.get("contains", ()):
            assert text.replace("{TOKEN}", token).encode() in message.content
        for octets in wanted.get("contains_hex", ()):
            assert bytes.fromhex(octets) in message.content
        header = message.content.partition(b"\r\n\r\n")[0].decode("latin-1")
        fields = re.split(r"\r\n(?![ \t])", header)
        for pattern in wanted.get("header_match", ()):
            assert any(re.search(pattern, field) for field in fields), fields
    if "no_mail" in wanted:
        assert not [each for each in taken if wanted["no_mail"] in each.mail]


def check_violations(hop: NextHop, since: int, taken: list[Taken], *, long_lines: bool) -> None:
    """No bare CR or LF and no unknown verb reached the next hop."""
    verbs = {command.partition(" ")[0].upper() for command in hop.commands[since:]}
    assert verbs <= KNOWN_VERBS, verbs
    for message in taken:
        lines = message.content.replace(b"\r\n", b"\0").split(b"\0")
        assert not [line for line in lines if b"\r" in line or b"\n" in line]
        if long_lines:
            assert max(map(len, lines)) <= 998
