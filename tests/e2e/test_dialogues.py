"""Every dialogue of tests/dialogues once more, over a socket with a relay that really runs.

One process has a listener for each way that a dialogue wants one set up. A reply need only
begin as the dialogue says where it ends with the session's token, and content is what follows
our own fields in a maildir, where lines end with LF.
"""

from __future__ import annotations

import re
import shutil
import socket
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.dialogues.test_dialogues import DIALOGUES, read, replies, unescape
from tests.e2e.support.edgerelay import Edgerelay, relay_config
from tests.e2e.support.tls import issue, untrusting
from tests.e2e.support.waiting import wait_for
from tests.policy_distribution import install, python_path

#: Listeners, each by the option that a dialogue sets.
LISTENERS: dict[str, dict[str, Any]] = {
    "": {"tls": "starttls"},
    "tls_required": {"tls": "required"},
    "no_starttls": {"tls": "off"},
    "normalize": {"tls": "starttls", "bare_newline": "normalize"},
    "binarymime": {"tls": "starttls", "binarymime": True},
}
#: Whom dialogues name; all but nobody-here are known.
NAMED = re.compile(r"TO:\s*<(?:@[^:>]*:)?([^<>@\"\\]+)@local\.test>", re.IGNORECASE)
#: What is set for a whole process, and what is about how octets are cut, not about a listener.
PROCESS_WIDE, SEGMENTS = "reject_long_lines", "segments_only"


@dataclass
class House:
    relay: Edgerelay
    mail: Path

    def port(self, option: str) -> int:
        return self.relay.ports[list(LISTENERS).index(option)]

    def has_accepted(self, client: str, messages: int) -> bool:
        return len(self.relay.find("message", client=client)) == messages

    def delivered(self) -> list[Path]:
        return sorted(self.mail.glob("**/new/*"), key=lambda path: path.stat().st_mtime_ns)


def house(long_lines: str) -> Iterator[House]:
    directory = Path(tempfile.mkdtemp(prefix="er-", dir="/tmp"))
    install(directory / "site")  # whose gourmet has later@ come again
    named = {name for path in DIALOGUES for name in NAMED.findall(path.read_text())}
    known = {"postmaster", *named} - {"nobody-here"}
    lines = [f"{name}@local.test\n" for name in sorted(known)]
    (directory / "recipients").write_text("".join(lines))
    config = relay_config(
        directory,
        f"maildir://{directory}/mail",
        route={"domains": ["local.test"], "recipients": f"file:{directory / 'recipients'}"},
        limits={"message_size": 1_000_000, "errors_per_session": 1000, "long_lines": long_lines},
        tls=issue(directory, "mx.edge.test"),
        hostname="mx.edge.test",
        postmaster="postmaster@local.test",
        policy=[{"use": "painter"}, {"use": "gourmet"}],
    )
    config["listener"] = [{"address": "127.0.0.1:0", **each} for each in LISTENERS.values()]
    del config["route"][0]["tls"]
    try:
        env = {"PYTHONPATH": python_path(directory / "site")}
        with Edgerelay(directory / "relay", config, env=env) as relay:
            yield House(relay, directory / "mail")
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="module")
def lenient() -> Iterator[House]:
    yield from house("accept")


@pytest.fixture(scope="module")
def strict() -> Iterator[House]:
    yield from house("reject")


def perform(house: House, script: list[tuple[str, str]]) -> None:
    options = {text for mark, text in script if mark == "!"} - {PROCESS_WIDE, SEGMENTS}
    (option,) = options or {""}
    delivered = set(house.delivered())
    connection = socket.create_connection(("127.0.0.1", house.port(option)), 15)
    try:
        content = converse(house, connection, script)
    finally:
        connection.close()
    if content:
        wanted = b"".join(line + b"\r\n" for line in content).replace(b"\r\n", b"\n")
        wait_for(
            "the content in a mailbox",
            lambda: [
                path
                for path in set(house.delivered()) - delivered
                if path.read_bytes().endswith(b"\n" + wanted)
            ],
        )


def converse(
    house: House, connection: socket.socket, script: list[tuple[str, str]]
) -> list[bytes]:
    """Hold the dialogue to its end; return the content that it says was accepted last."""
    content, unsent, unread = [], b"", b""
    us = "{}:{}".format(*connection.getsockname())
    for mark, text in script:
        if mark in "CX":
            unsent += text.encode() + b"\r\n" if mark == "C" else unescape(text)
            continue
        connection.sendall(unsent)
        unsent = b""
        if mark == "S":
            while not (found := re.match(rb"(?:\d{3}-.*\r\n)*\d{3} .*\r\n", unread)):
                data = connection.recv(65536)
                assert data, f"the end instead of {text}: {unread!r}"
                unread += data
            unread = unread[found.end() :]
            (said,) = replies(found[0])
            wanted = ".*".join(map(re.escape, text.split("*")))
            assert re.fullmatch(wanted + r"( \(s=\w+\))?", said), f"{said} instead of {text}"
        elif mark == "M":
            content.append(unescape(text))
        elif text == "handshake":
            assert not unread
            connection = untrusting().wrap_socket(connection)
        elif text == "closed":
            assert not connection.recv(1)
        elif text.endswith(" messages"):
            number = int(text.split()[0])
            wait_for(text, partial(house.has_accepted, us, number), 5)
        # "drained" is about the protocol's memory; that the handshake works shows it here.
    assert not unread, "the server said more"
    with connection, suppress(OSError):  # it may have hung up already
        connection.sendall(unsent)
        if isinstance(connection, ssl.SSLSocket):
            connection.unwrap()  # which raises if anything but its close_notify comes
        else:
            connection.shutdown(socket.SHUT_WR)
            unread = connection.recv(65536)
    assert not unread, "the server said more"
    return content


@pytest.mark.parametrize("path", DIALOGUES, ids=lambda path: path.stem)
def test_dialogue(path: Path, request: pytest.FixtureRequest) -> None:
    script = read(path)
    kind = "strict" if ("!", PROCESS_WIDE) in script else "lenient"
    perform(request.getfixturevalue(kind), script)
