"""Programs that the world sends mail with deliver through us, and the body arrives as it was.

docs/senders.md is the table of what each could do; it must say what this run found.
`SENDERS_WRITE=1` writes it anew.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.support.client import message
from tests.e2e.support.edgerelay import Edgerelay
from tests.e2e.support.next_hop import NextHop
from tests.e2e.support.senders import SENDERS, Cannot, Mail, Sender
from tests.e2e.support.tls import issue

PAGE = Path(__file__).parents[2] / "docs/senders.md"
DOTS = b".\r\n..\r\n.leading\r\n \r\n\r\ntext\r\n"
ASCII = ("ann@src.test", "bob@example.test")

#: Per column of the table: body, addresses, whether encrypted.
COLUMNS: dict[str, tuple[bytes, tuple[str, str], bool]] = {
    "plain": (DOTS, ASCII, False),
    "8-bit": (DOTS + "grüße, 日本\r\n".encode(), ASCII, False),
    "UTF-8 address": (DOTS, ("jürgen@src.test", "bärbel@example.test"), False),
    "20 MiB": (DOTS + b"The quick brown fox jumps over it.\r\n" * 582_600, ASCII, False),
    "STARTTLS": (DOTS, ASCII, True),
}


@pytest.fixture
def tls(workdir: Path) -> dict[str, str]:
    return issue(workdir, "localhost", "127.0.0.1")


@pytest.mark.parametrize("sender", SENDERS, ids=lambda s: s.name.replace(" ", "_"))
def test_a_sender_delivers_what_the_table_says(
    workdir: Path, relay: Callable[..., Edgerelay], tls: dict[str, str], sender: Sender
) -> None:
    results = {}
    with NextHop() as hop:
        second = {"tls": "starttls"}
        server = relay(f"smtp://127.0.0.1:{hop.port}", tls=tls, second_listener=second)
        for column, (body, addresses, encrypted) in COLUMNS.items():
            before = len(hop.confirmed())
            mail = Mail(
                workdir / column.replace(" ", "-"),
                server.ports[1 if encrypted or sender.always_tls else 0],
                message(column, body=body),
                *addresses,
                arrived=lambda before=before: len(hop.confirmed()) > before,  # type: ignore[misc]
                tls=encrypted,
            )
            try:
                sender.send(mail)
            except Cannot as reason:
                results[column] = f"no: {reason}"
                continue
            taken = hop.wait_taken(before + 1)[-1]
            head, _, arrived = taken.content.partition(b"\r\n\r\n")
            assert arrived == mail.content.partition(b"\r\n\r\n")[2], column
            assert f"<{addresses[0]}>" in taken.mail
            if encrypted:
                assert b"with ESMTPS" in head
            results[column] = "yes"
        assert len(hop.confirmed()) == list(results.values()).count("yes"), "each came once"
    if os.environ.get("SENDERS_WRITE"):
        write(sender, results)
    assert table()[sender.name] == results, "docs/senders.md says otherwise"


def test_the_table_has_a_row_for_each_sender_and_no_other() -> None:
    assert list(table()) == [sender.name for sender in SENDERS]


def table() -> dict[str, dict[str, str]]:
    """The committed results, by sender and column. Versions change with Debian's; they say
    with which one it was tried last."""
    rows = [
        [cell.strip() for cell in line.strip("|\n").split("|")]
        for line in PAGE.read_text().splitlines()
        if line.startswith("|") and not line.startswith("|-")
    ]
    _, _, *columns = rows[0]
    return {name: dict(zip(columns, cells, strict=True)) for name, _, *cells in rows[1:]}


def write(sender: Sender, results: dict[str, str]) -> None:
    """Put one sender's row into the page, in place of the one that was there."""
    row = " | ".join((sender.name, sender.version(), *results.values()))
    text = PAGE.read_text()
    line = re.compile(rf"^\| {re.escape(sender.name)} \|.*$", re.M)
    assert line.search(text), f"{PAGE.name} needs a line for {sender.name}"
    PAGE.write_text(line.sub(lambda _: f"| {row} |", text))
