"""Programs that the world sends mail with: each submits one message to a port of loopback.

A function takes a `Mail`, and raises `Cannot` where the program itself will not do it.
"""

from __future__ import annotations

import json
import re
import smtplib
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.support import opensmtpd
from tests.e2e.support.client import stuffed
from tests.e2e.support.exim import Exim
from tests.e2e.support.opensmtpd import OpenSmtpd
from tests.e2e.support.postfix import Postfix
from tests.e2e.support.process import needs, run
from tests.e2e.support.tls import untrusting
from tests.e2e.support.unpacked import unpacked
from tests.e2e.support.waiting import wait_for


class Cannot(Exception):
    """The sender does not do this; the text says why, in few words."""


@dataclass(frozen=True, slots=True)
class Mail:
    """What to send, where, and how. ``arrived`` tells an MTA in the middle when to stop."""

    directory: Path  #: for what the sender keeps; empty
    port: int
    content: bytes  #: lines end with CRLF
    mail_from: str
    rcpt_to: str
    arrived: Callable[[], bool]
    tls: bool = False

    @property
    def utf8(self) -> bool:
        return not (self.mail_from + self.rcpt_to).isascii()

    def file(self, content: bytes | None = None) -> Path:
        """The message on disk; ``content`` where a program wants it in another form."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self.directory.chmod(0o755)
        path = self.directory / "message.eml"
        path.write_bytes(self.content if content is None else content)
        return path


def smtplib_(mail: Mail) -> None:
    with smtplib.SMTP("127.0.0.1", mail.port, "client.test", timeout=60) as client:
        client.ehlo()
        if mail.tls:
            client.starttls(context=untrusting())
            client.ehlo()
        options = ["BODY=8BITMIME"] if client.has_extn("8bitmime") else []
        if mail.utf8:
            if not client.has_extn("smtputf8"):
                raise Cannot("has no SMTPUTF8")
            options.append("SMTPUTF8")
        client.sendmail(mail.mail_from, [mail.rcpt_to], mail.content, options)


def _submit(mail: Mail, port: int) -> None:
    """Give it to an MTA that hands it on, and wait until it has."""
    smtplib_(Mail(mail.directory, port, mail.content, mail.mail_from, mail.rcpt_to, mail.arrived))
    wait_for("the message beyond the MTA", mail.arrived, 40)


def postfix(mail: Mail) -> None:
    extra = {"smtp_tls_security_level": "encrypt" if mail.tls else "none"}
    with Postfix(mail.directory, relay_to=mail.port, extra=extra) as server:
        _submit(mail, server.port)


def exim(mail: Mail) -> None:
    lines = ("hosts_require_tls = *", "tls_verify_hosts =", "tls_try_verify_hosts =")
    server = Exim(
        mail.directory,
        relay_to=mail.port,
        transport=lines if mail.tls else ("hosts_avoid_tls = *",),
    )
    server.send(mail.mail_from, mail.rcpt_to, content=mail.content.replace(b"\r\n", b"\n"))


def open_smtpd(mail: Mail) -> None:
    with OpenSmtpd(mail.directory, relay_to=mail.port, tls=mail.tls) as server:
        _submit(mail, server.port)


def _program(command: Sequence[str], mail: Mail, *, stdin: Path | None = None) -> None:
    with (stdin or Path("/dev/null")).open("rb") as source:
        done = subprocess.run(
            command,
            stdin=source,
            capture_output=True,
            timeout=60,
            check=False,
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "HOME": str(mail.directory)},
        )
    said = (done.stdout + done.stderr)[-2000:].decode("utf-8", "replace")
    if done.returncode and mail.utf8 and "5.6.7" in said:
        raise Cannot("does not say SMTPUTF8")
    assert done.returncode == 0, f"{command} gave {done.returncode}: {said}"


def swaks(mail: Mail) -> None:
    needs("swaks")
    # It puts CRLF.CRLF behind whatever it is given, even behind a CRLF.
    data = mail.file(mail.content.removesuffix(b"\r\n"))
    command = ["swaks", "--silent", "2", "--server", f"127.0.0.1:{mail.port}", "--helo", "c.test"]
    command += ["--from", mail.mail_from, "--to", mail.rcpt_to, "--data", f"@{data}"]
    _program([*command, *(["--tls"] if mail.tls else [])], mail)


def curl(mail: Mail) -> None:
    needs("curl")
    command = ["curl", "--silent", "--show-error", f"smtp://127.0.0.1:{mail.port}/client.test"]
    command += ["--mail-from", mail.mail_from, "--mail-rcpt", mail.rcpt_to]
    command += ["--upload-file", str(mail.file())]
    _program([*command, *(["--ssl-reqd", "--insecure"] if mail.tls else [])], mail)


def msmtp(mail: Mail) -> None:
    needs("msmtp")
    command = ["msmtp", "--host=127.0.0.1", f"--port={mail.port}", "--domain=client.test"]
    command += [f"--from={mail.mail_from}", *(["--tls"] if mail.tls else ["--tls=off"])]
    command += ["--tls-certcheck=off"] if mail.tls else []
    _program(
        [*command, "--", mail.rcpt_to], mail, stdin=mail.file(mail.content.replace(b"\r\n", b"\n"))
    )


def openssl(mail: Mail) -> None:
    """A person at a terminal, who knows what to type; always encrypted."""
    needs("openssl")
    command = ["openssl", "s_client", "-starttls", "smtp", "-quiet"]
    command += ["-connect", f"127.0.0.1:{mail.port}"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        parameters = " BODY=8BITMIME" + (" SMTPUTF8" if mail.utf8 else "")
        for line, code in (
            ("EHLO client.test", b"250"),
            (f"MAIL FROM:<{mail.mail_from}>{parameters}", b"250"),
            (f"RCPT TO:<{mail.rcpt_to}>", b"250"),
            ("DATA", b"354"),
            (stuffed(mail.content).decode().removesuffix("\r\n"), b"250"),
            ("QUIT", b"221"),
        ):
            process.stdin.write(line.encode() + b"\r\n")
            process.stdin.flush()
            answer = _reply(process.stdout.readline)
            if line.startswith("EHLO") and answer.count(b"\n") == 1:
                # s_client shows the last line of what it heard before STARTTLS, too
                answer = _reply(process.stdout.readline)
            assert answer.startswith(code), (line[:80], answer)
        process.stdin.close()


def _reply(readline: Callable[[], bytes]) -> bytes:
    """All lines of one reply."""
    lines = []
    while True:
        lines.append(readline())
        if lines[-1][3:4] != b"-":
            return b"".join(lines)


_NODE = """\
const [request, path] = process.argv.slice(1);
const { port, from, to, tls, module } = JSON.parse(request);
const transport = require(module).createTransport({
  host: "127.0.0.1", port, name: "client.test", secure: false,
  requireTLS: tls, ignoreTLS: !tls, tls: { rejectUnauthorized: false },
});
transport.sendMail({ envelope: { from, to }, raw: require("fs").readFileSync(path) })
  .catch((error) => { console.error(error); process.exitCode = 1; });
"""


def nodemailer(mail: Mail) -> None:
    needs("node")
    request = {
        "port": mail.port,
        "from": mail.mail_from,
        "to": mail.rcpt_to,
        "tls": mail.tls,
        "module": str(unpacked("node/node_modules/nodemailer")),
    }
    _program(["node", "-e", _NODE, json.dumps(request), str(mail.file())], mail)


def _nodemailer_version() -> str:
    package = unpacked("node/node_modules/nodemailer/package.json")
    return str(json.loads(package.read_text())["version"])


def _first_number(*command: str) -> str:
    found = re.search(r"\d+(?:\.\d+)+\w*|\d{6,}", run(*command))
    assert found, command
    return found[0]


@dataclass(frozen=True, slots=True)
class Sender:
    name: str
    send: Callable[[Mail], None]
    version: Callable[[], str]
    always_tls: bool = False


SENDERS = (
    Sender("Postfix", postfix, lambda: _first_number("postconf", "-d", "mail_version")),
    Sender("Exim", exim, lambda: Exim(Path("/nonexistent")).version),
    Sender("OpenSMTPD", open_smtpd, opensmtpd.version),
    Sender("swaks", swaks, lambda: _first_number("swaks", "--version")),
    Sender("curl", curl, lambda: _first_number("curl", "--version")),
    Sender("msmtp", msmtp, lambda: _first_number("msmtp", "--version")),
    Sender("openssl s_client", openssl, lambda: _first_number("openssl", "version"), True),
    Sender("Python smtplib", smtplib_, lambda: "{}.{}.{}".format(*sys.version_info[:3])),
    Sender("nodemailer", nodemailer, _nodemailer_version),
)
