"""demo.py: a relay on loopback that delivers, refuses and waits, and a table of what it did.

Every row is asked of the running relay and shows its evidence: the reply it gave, or the
file in which the mail lies. The exit status is 1 if a row did not come out as it should.
"""

from __future__ import annotations

import contextlib
import email
import json
import os
import queue
import signal
import smtplib
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from edgerelay.testing.dns_server import DnsServer
from edgerelay.testing.messages import TEST_KEYS, build_message, dkim_records, sign

#: Seconds that anything here may take before its row counts as failed.
PATIENCE = 20.0
MOST = 64 * 1024  # octets of a message, so that "oversized" is small too

CONFIG = """\
hostname = "relay.example.test"
state_dir = "{here}/state"
workers = 1

[[listener]]
address = "127.0.0.1:0"
tls = "off"

[limits]
message_size = "64KiB"
min_free_space = "10MiB"

[[route]]
domains = ["example.test"]
next_hop = ["maildir://{here}/mail/{{local_part}}"]
recipients = "file:{here}/recipients"

[[route]]
domains = ["other.test"]
next_hop = ["smtp://127.0.0.1:{next_hop}"]
recipients = "any"
tls = "off"

[queue]
retry = ["1s"]

[dns]
servers = ["127.0.0.1:{dns}"]

[[policy]] # Alice is a friend: the rows about her are about other things
use = "access"
allow_senders = ["alice@sender.test"]

[[policy]]
use = "spf"

[[policy]]
use = "dkim"

[[policy]]
use = "greylisting"
delay = "1s"
"""

#: What the demo's own name server says: signed.test sends from here and signs, forged.test
#: never sends.
KEY = TEST_KEYS["rsa-2048"]
ZONE = {
    ("signed.test", "TXT"): [(b"v=spf1 ip4:127.0.0.0/8 -all",)],
    ("forged.test", "TXT"): [(b"v=spf1 -all",)],
    **dkim_records("signed.test", "demo", KEY),
}


@dataclass
class Row:
    what: str
    expected: str
    seen: str = ""
    good: bool = False


def mail(to: str, subject: str, size: int = 0) -> EmailMessage:
    message = EmailMessage()
    message["From"] = "Alice <alice@sender.test>"
    message["To"] = to
    message["Subject"] = subject
    message["Message-ID"] = f"<{time.monotonic_ns()}@sender.test>"
    message.set_content(f"{subject}, said Alice.\n" + "0123456789 abcdefghij\n" * (size // 22))
    return message


class Relay:
    """`edgerelay serve` with its events."""

    def __init__(self, here: Path, next_hop: int, dns: int) -> None:
        self.mail = here / "mail"
        self.mail.mkdir()
        (here / "recipients").write_text("bob@example.test\ncarol@example.test\n")
        config = here / "edgerelay.toml"
        config.write_text(CONFIG.format(here=here, next_hop=next_hop, dns=dns))
        config.chmod(0o600)
        self.lines: list[bytes] = []
        self._events: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self.seen: list[dict[str, Any]] = []
        self.process = subprocess.Popen(
            [sys.executable, "-m", "edgerelay", "serve", "-c", str(config)],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line)
            with contextlib.suppress(ValueError):
                event = json.loads(line)
                if isinstance(event, dict):
                    self._events.put(event)
        self._events.put(None)

    def wait(self, name: str, **fields: object) -> dict[str, Any]:
        """The first event of that name with these fields, past or to come."""
        end = time.monotonic() + PATIENCE

        def matches(event: dict[str, Any]) -> bool:
            return event.get("event") == name and all(event.get(k) == v for k, v in fields.items())

        while True:
            for event in self.seen:
                if matches(event):
                    return event
            try:
                event = self._events.get(timeout=max(0.0, end - time.monotonic()))
            except queue.Empty:
                event = None
            if event is None:
                said = b"".join(self.lines[-20:]).decode(errors="replace")
                raise RuntimeError(f"no event {name} {fields}; the relay said:\n{said}")
            self.seen.append(event)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


@dataclass
class NextHop:
    """The smallest SMTP server that can be down and up again, and what it took."""

    port: int
    taken: list[bytes] = field(default_factory=list)

    @contextlib.contextmanager
    def up(self) -> Iterator[None]:
        with socket.create_server(("127.0.0.1", self.port)) as listener:
            threading.Thread(target=self._accept, args=(listener,), daemon=True).start()
            yield
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection, connection.makefile("rwb") as stream:

            def say(text: str) -> None:
                stream.write(text.encode() + b"\r\n")
                stream.flush()

            say("220 next-hop.other.test")
            for line in stream:
                verb = line[:4].upper()
                if verb == b"DATA":
                    say("354 go on")
                    content = b"".join(iter(stream.readline, b".\r\n"))
                    self.taken.append(content)
                say("221 bye" if verb == b"QUIT" else "250 ok")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def send(
    port: int, message: EmailMessage | bytes, to: str, sender: str = "alice@sender.test"
) -> str:
    """Give the relay one message; the reply that decided. Never raises for a refusal."""
    octets = message if isinstance(message, bytes) else message.as_bytes(policy=SMTP)
    with smtplib.SMTP("127.0.0.1", port, timeout=PATIENCE) as client:
        client.ehlo("sender.test")
        answers = [client.mail(sender), client.rcpt(to)]
        if answers[-1][0] == 250:
            answers.append(client.data(octets))
        code, text = answers[-1]
        return f"{code} {text.decode(errors='replace')}"


def wait_until(probe: Callable[[], object]) -> bool:
    end = time.monotonic() + PATIENCE
    while not probe() and time.monotonic() < end:
        threading.Event().wait(0.05)
    return bool(probe())


def delivered(relay: Relay, port: int) -> Row:
    row = Row("mail for bob@example.test", "lies in his Maildir")
    message = mail("bob@example.test", "Good news")
    reply = send(port, message, "bob@example.test")
    folder = relay.mail / "bob" / "new"
    if wait_until(lambda: folder.is_dir() and any(folder.iterdir())):
        [file] = folder.iterdir()
        stored = file.read_text()
        row.good = "Good news, said Alice." in stored and "by relay.example.test" in stored
        row.seen = f"{reply}\n{file}"
    else:
        row.seen = f"{reply}; nothing in {folder}"
    return row


def refusal(port: int, what: str, to: str, expected: str, size: int = 0) -> Row:
    reply = send(port, mail(to, what, size), to)
    return Row(what, expected, reply, reply.startswith(expected))


def declared(port: int) -> Row:
    """The SIZE parameter spares the client from sending it."""
    with smtplib.SMTP("127.0.0.1", port, timeout=PATIENCE) as client:
        client.ehlo("sender.test")
        code, text = client.mail("alice@sender.test", [f"size={MOST * 2}"])
    reply = f"{code} {text.decode(errors='replace')}"
    return Row("the same, announced with SIZE", "552 5.3.4", reply, reply.startswith("552 5.3.4"))


def down_and_up(relay: Relay, port: int, hop: NextHop) -> list[Row]:
    """The next hop of other.test is not there when the mail comes."""
    message = mail("eve@other.test", "Patience")
    reply = send(port, message, "eve@other.test")
    queue_id = reply.rpartition(" ")[2]
    down_event = relay.wait("lane_down")
    down = Row(
        "next hop down: mail for eve@other.test",
        "250, and it waits",
        f"{reply}\n{down_event['reason']}; again in {down_event['retry_in']:.0f} s",
        reply.startswith("250") and not hop.taken,
    )
    with hop.up():
        came = wait_until(lambda: hop.taken)
        done = relay.wait("delivery", outcome="delivered", queue_id=queue_id)
    up = Row("next hop up again", "the mail arrives, once")
    up.good = came and len(hop.taken) == 1 and b"Patience, said Alice." in hop.taken[0]
    up.seen = f"{done['recipients'][0][1]}\n{done['queue_id']} after {done['delay']:.1f} s"
    return [down, up]


def signed(subject: str) -> bytes:
    message = build_message(
        sender="Sue <sue@signed.test>",
        to="Carol <carol@example.test>",
        subject=subject,
        body=f"{subject}, said Sue.\n",
    )
    return sign(message, "signed.test", "demo", KEY)


def results_of(relay: Relay, subject: str) -> str:
    """The Authentication-Results field of the message with that subject, in Carol's Maildir."""
    folder = relay.mail / "carol" / "new"
    found: list[str] = []

    def look() -> bool:
        for file in folder.iterdir() if folder.is_dir() else ():
            message = email.message_from_bytes(file.read_bytes(), policy=SMTP)
            if message["Subject"] == subject:
                found.append(" ".join(str(message["Authentication-Results"]).split()))
        return bool(found)

    return found[0] if wait_until(look) else f"nothing in {folder}"


def policed(relay: Relay, port: int) -> list[Row]:
    """A stranger's signed mail, somebody else's name, and a body that was changed on its way."""
    to, sue = "carol@example.test", "sue@signed.test"
    reply = send(port, signed("First words"), to, sue)
    first = Row("signed mail of a first-time sender", "451 4.7.1", reply)
    first.good = reply.startswith("451 4.7.1")
    threading.Event().wait(1.2)
    reply = send(port, signed("First words"), to, sue)
    results = results_of(relay, "First words")
    retried = Row("the same, tried again", "delivered, spf=pass, dkim=pass", f"{reply}\n{results}")
    retried.good = reply.startswith("250") and "spf=pass" in results and "dkim=pass" in results
    tampered = signed("Second words").replace(b"said Sue", b"said Eve")
    reply = send(port, tampered, to, sue)
    results = results_of(relay, "Second words")
    changed = Row("signed mail with a changed body", "delivered, dkim=fail", f"{reply}\n{results}")
    changed.good = reply.startswith("250") and "dkim=fail" in results
    reply = send(port, mail(to, "Forged"), to, "ceo@forged.test")
    forged = Row("mail in the name of forged.test", "550 5.7.23", reply)
    forged.good = reply.startswith("550 5.7.23")
    return [first, retried, changed, forged]


def main() -> int:
    console = Console(width=max(100, min(140, int(os.environ.get("COLUMNS", "100")))))
    start = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="edgerelay-demo-") as name,
        DnsServer(ZONE) as names,
    ):
        hop = NextHop(free_port())
        relay = Relay(Path(name), hop.port, names.port)
        try:
            ready = relay.wait("ready")
            port = int(ready["listeners"][0].rpartition(":")[2])
            console.print(
                f"edgerelay (pid {relay.process.pid}) accepts on 127.0.0.1:{port} "
                f"after {time.monotonic() - start:.1f} s; it keeps its spool in {name}/state"
            )
            rows = [
                delivered(relay, port),
                refusal(port, "mail for a domain that is not ours", "x@else.test", "550 5.7.1"),
                refusal(port, "an unknown recipient", "nobody@example.test", "550 5.1.1"),
                refusal(
                    port, "128 KiB where 64 are allowed", "bob@example.test", "552 5.3.4", 2 * MOST
                ),
                declared(port),
                *policed(relay, port),
                *down_and_up(relay, port, hop),
            ]
        except (RuntimeError, OSError, smtplib.SMTPException) as error:
            console.print(f"the demo could not go on: {error}", markup=False)
            return 1
        finally:
            status = relay.stop()
        rows.append(Row("SIGTERM", "exit status 0", f"exit status {status}", status == 0))
        console.print(_table(rows))
    console.print(f"{time.monotonic() - start:.1f} s in all; {name} is removed again")
    return 0 if all(row.good for row in rows) else 1


def _table(rows: list[Row]) -> Table:
    table = Table(title="What was asked of the relay, and what came of it", show_lines=True)
    for column in ("what", "should be", "seen", ""):
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(
            row.what, row.expected, row.seen, "[green]yes[/green]" if row.good else "[red]NO[/red]"
        )
    return table


if __name__ == "__main__":
    sys.exit(main())
