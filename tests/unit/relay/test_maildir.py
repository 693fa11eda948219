"""Files in a Maildir: their names, their octets, and what must never leave the directory."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from trio.testing import MockClock

from edgerelay.mail.address import ForwardPath, Mailbox, ReversePath
from edgerelay.mail.envelope import ClientFacts, Envelope, Recipient
from edgerelay.observe.events import Event
from edgerelay.relay.maildir import MaildirWriter, directory_for
from edgerelay.runtime import inline
from edgerelay.spool import open_memory_spool
from edgerelay.spool.api import NewDelivery, NewMessage, PendingDelivery

NOW = 1_800_000_000.25


def clock() -> float:
    return NOW


def observer(event: Event) -> None:
    del event


async def write(
    template: Path, content: bytes, *to: str, sender: str = "a@example.net"
) -> list[str]:
    """Deliver through the real thing; return each recipient's reply."""
    async with open_memory_spool(clock=clock, observer=observer) as spool:
        committed: list[PendingDelivery] = []
        spool.on_committed = committed.extend
        body = spool.new_content()
        if body.feed(content):
            await body.flush()
        recipients = tuple(Recipient(ForwardPath(Mailbox.from_text(one))) for one in to)
        path = ReversePath(Mailbox.from_text(sender) if sender else None)
        await spool.commit(
            NewMessage(
                spool.allocate_id(),
                Envelope(path),
                ClientFacts("192.0.2.1", "client", "ESMTP"),
                NOW,
                b"Received: from client\r\n\tby us\r\n",
                body,
                (NewDelivery("maildir", recipients),),
            )
        )
        writer = MaildirWriter(spool, inline, clock, "host/one:two")
        attempt, _trouble = await writer.deliver(committed[0], template)
        assert attempt.is_final
        return [str(reply) for reply in attempt.replies]


def only_file(directory: Path) -> Path:
    (file,) = directory.iterdir()
    return file


async def test_a_message_becomes_a_file(tmp_path: Path, autojump_clock: MockClock) -> None:
    content = b"Subject: hi\r\n\r\none\r\ntwo\r\n"
    maildir = tmp_path / "deep/er/Maildir"
    assert await write(maildir, content, "u@example.org") == ["250 2.0.0 Delivered to the mailbox"]
    file = only_file(maildir / "new")
    assert file.read_bytes() == (
        b"Return-Path: <a@example.net>\nDelivered-To: u@example.org\n"
        b"Received: from client\n\tby us\nSubject: hi\n\none\ntwo\n"
    )
    assert list((maildir / "tmp").iterdir()) == []
    assert (maildir / "cur").is_dir()
    assert maildir.stat().st_mode & 0o777 == 0o700
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.name.endswith(r".host\057one\072two")


async def test_each_recipient_gets_a_file(tmp_path: Path, autojump_clock: MockClock) -> None:
    replies = await write(
        tmp_path / "{domain}/{local_part}", b"x\r\n", "a@Example.ORG", "b@example.org"
    )
    assert len(replies) == 2
    for name in ("a", "b"):
        assert only_file(tmp_path / "example.org" / name / "new").is_file()


async def test_two_files_of_one_moment_have_two_names(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    await write(tmp_path, b"x\r\n", "a@example.org", "b@example.org")
    assert len(list((tmp_path / "new").iterdir())) == 2


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"Return-Path: <old@x>\r\nA: b\r\n\r\nx\r\n", b"A: b\n\nx\n"),
        (b"A: b\r\nRETURN-PATH : <old@x>\r\n\tfolded\r\nC: d\r\n\r\nx\r\n", b"A: b\nC: d\n\nx\n"),
        (b" x\r\nReturn-Path: in the body\r\n", b" x\nReturn-Path: in the body\n"),
        (b"A: b\r\n\r\nReturn-Path: in the body\r\n", b"A: b\n\nReturn-Path: in the body\n"),
        (b"", b""),
        (b"a\rb\r\n", b"a\rb\n"),
    ],
)
async def test_there_is_one_return_path_and_it_is_ours(
    tmp_path: Path, autojump_clock: MockClock, content: bytes, expected: bytes
) -> None:
    await write(tmp_path, content, "u@example.org", sender="")
    ours = b"Return-Path: <>\nDelivered-To: u@example.org\nReceived: from client\n\tby us\n"
    assert only_file(tmp_path / "new").read_bytes() == ours + expected


async def test_large_content_streams(tmp_path: Path, autojump_clock: MockClock) -> None:
    content = b"Return-Path: <old@x>\r\nA: b\r\n\r\n" + b"0123456789abc\r\n" * 100_000 + b"end\r"
    await write(tmp_path, content, "u@example.org")
    written = only_file(tmp_path / "new").read_bytes()
    assert written.endswith(content.replace(b"\r\n", b"\n")[len(b"Return-Path: <old@x>\n") :])
    assert written.count(b"Return-Path") == 1


@pytest.mark.parametrize(
    ("mailbox", "directory"),
    [
        (Mailbox("user", "Example.ORG"), "/m/example.org/user"),
        (Mailbox('"john doe"', "example.org"), "/m/example.org/john doe"),
        (Mailbox("{domain}", "example.org"), "/m/example.org/{domain}"),
        (Mailbox("..", "example.org"), None),
        (Mailbox('"..."', "example.org"), None),
        (Mailbox('"."', "example.org"), None),
        (Mailbox('"a/../../b"', "example.org"), None),
        (Mailbox('"a\\/b"', "example.org"), None),
        (Mailbox('""', "example.org"), None),
        (Mailbox('"a\tb"', "example.org"), None),
        (Mailbox("x" * 300, "example.org"), None),
        (Mailbox("user", ".."), None),
        (Mailbox("user", "a/b"), None),
    ],
)
def test_names_stay_inside(mailbox: Mailbox, directory: str | None) -> None:
    found = directory_for(Path("/m/{domain}/{local_part}"), mailbox)
    assert found == (None if directory is None else Path(directory))


def test_without_a_place_for_it_a_name_cannot_hurt() -> None:
    assert directory_for(Path("/m/all"), Mailbox("../x", "example.org")) == Path("/m/all")


async def test_an_unsafe_name_is_no_mailbox(tmp_path: Path, autojump_clock: MockClock) -> None:
    replies = await write(
        tmp_path / "{local_part}", b"x\r\n", '".."@example.org', "ok@example.org"
    )
    assert [reply[:9] for reply in replies] == ["550 5.1.1", "250 2.0.0"]


@pytest.mark.parametrize(
    ("number", "reply"),
    [(errno.ENOSPC, "452 4.3.1"), (errno.EDQUOT, "452 4.3.1"), (errno.EIO, "451 4.3.0")],
)
async def test_a_disk_that_fails_defers(
    tmp_path: Path,
    autojump_clock: MockClock,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    reply: str,
) -> None:
    def fail(fd: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    (said,) = await write(tmp_path, b"x\r\n", "u@example.org")
    assert said.startswith(reply)
    assert str(tmp_path) not in said
    for part in ("tmp", "new"):
        assert not (tmp_path / part).exists() or list((tmp_path / part).iterdir()) == []
