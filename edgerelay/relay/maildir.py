"""A Maildir as next hop: one durable file a recipient, or a reply that says why not.

It knows the file system and nothing of queues or connections. Lines end with LF in the
files, as every program that reads Maildirs expects of a local delivery.
"""

from __future__ import annotations

import errno
import itertools
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edgerelay.mail.address import Mailbox
from edgerelay.mail.headers import has_no_header
from edgerelay.mail.reply import Reply
from edgerelay.relay.attempt import (
    CONTENT_UNREADABLE,
    DELIVERED,
    NO_ROOM,
    NO_SUCH_MAILBOX,
    NOT_WRITTEN,
    Attempt,
)
from edgerelay.runtime import Clock, RunBlocking
from edgerelay.spool.api import PendingDelivery, Spool, SpoolError

_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
_NAME_OCTETS: Final = 200
_QUOTED_PAIR: Final = re.compile(r"\\(.)")
_RETURN_PATH: Final = re.compile(rb"^return-path[ \t]*:[^\n]*\n(?:[ \t][^\n]*\n)*", re.I | re.M)


def directory_for(template: Path, mailbox: Mailbox) -> Path | None:
    """Fill in ``{local_part}`` and ``{domain}``; None if one would not stay one directory."""
    text = str(template)
    local_part, domain = _unquoted(mailbox.local_part), mailbox.domain_key
    if "{local_part}" in text and not _is_safe(local_part):
        return None
    if "{domain}" in text and not _is_safe(domain):
        return None
    # By parts, so that a name that holds "{domain}" stays what it is.
    parts = {"{local_part}": local_part, "{domain}": domain}
    return Path("".join(parts.get(part, part) for part in re.split(r"(\{\w+\})", text)))


def _unquoted(local_part: str) -> str:
    if len(local_part) > 1 and local_part[0] == local_part[-1] == '"':
        return _QUOTED_PAIR.sub(r"\1", local_part[1:-1])
    return local_part


def _is_safe(name: str) -> bool:
    return (
        0 < len(os.fsencode(name)) <= _NAME_OCTETS
        and name.strip(".") != ""
        and "/" not in name
        and name.isprintable()
    )


class MaildirWriter:
    """Delivers into Maildirs, making them (0700) where they are not."""

    def __init__(
        self, spool: Spool, run_blocking: RunBlocking, clock: Clock, hostname: str
    ) -> None:
        self._spool = spool
        self._run_blocking = run_blocking
        self._clock = clock
        self._host = hostname.replace("/", r"\057").replace(":", r"\072")
        self._counter: Iterator[int] = itertools.count()

    async def deliver(self, delivery: PendingDelivery, template: Path) -> tuple[Attempt, str]:
        """Return what became of each recipient, and what went wrong, for the operator."""
        replies: list[Reply] = []
        trouble = ""
        for pending in delivery.recipients:
            mailbox = pending.recipient.forward_path.mailbox
            directory = directory_for(template, mailbox)
            if directory is None:
                replies.append(NO_SUCH_MAILBOX)
                continue
            try:
                await self._write(delivery, directory, mailbox)
            except (OSError, ValueError) as error:
                full = isinstance(error, OSError) and error.errno in _FULL
                replies.append(NO_ROOM if full else NOT_WRITTEN)
                trouble = f"{directory}: {error}"
            except SpoolError as error:
                replies.append(CONTENT_UNREADABLE)
                trouble = str(error)
            else:
                replies.append(DELIVERED)
        return Attempt(tuple(replies), hop=f"maildir://{template}", is_final=True), trouble

    async def _write(self, delivery: PendingDelivery, maildir: Path, mailbox: Mailbox) -> None:
        message = delivery.message
        path = message.envelope.reverse_path
        added = f"Return-Path: {path}\nDelivered-To: {mailbox}\n".encode()
        file = _NewFile(maildir, self._unique_name())
        whole = self._spool.whole(message)
        if whole is not None:
            first = added + _local(message.prepend) + _first(_local(whole))
            await self._run_blocking(lambda: file.write_all(first))
            return
        try:
            lines = _LocalLines()
            pending = added + _local(message.prepend)
            is_first = True
            async for chunk in self._spool.chunks(message):
                local = lines.feed(chunk)
                pending += _first(local) if is_first else local
                is_first = False
                octets, pending = pending, b""
                await self._run_blocking(_Write(file, octets))
            await self._run_blocking(_Write(file, pending + lines.end()))
            await self._run_blocking(file.publish)
        finally:
            file.discard()

    def _unique_name(self) -> str:
        now = self._clock()
        micros = int(now % 1 * 1_000_000)
        return f"{int(now)}.M{micros}P{os.getpid()}Q{next(self._counter)}.{self._host}"


class _LocalLines:
    """CRLF to LF over chunks that may end between the two."""

    def __init__(self) -> None:
        self._held = b""

    def feed(self, chunk: bytes) -> bytes:
        octets = self._held + chunk
        self._held = b"\r" if octets.endswith(b"\r") else b""
        return _local(octets[: len(octets) - len(self._held)])

    def end(self) -> bytes:
        return self._held


def _local(octets: bytes) -> bytes:
    return octets.replace(b"\r\n", b"\n")


def _first(octets: bytes) -> bytes:
    """Drop a Return-Path that came with the message: ours is the one (RFC 5321 section 4.4)."""
    end = octets.find(b"\n\n")
    header = octets if end < 0 else octets[: end + 1]
    if has_no_header(octets) or b"return-path" not in header.lower():
        return octets
    return _RETURN_PATH.sub(b"", header) + octets[len(header) :]


@dataclass(frozen=True, slots=True)
class _Write:
    file: _NewFile
    octets: bytes

    def __call__(self) -> None:
        self.file.write(self.octets)


class _NewFile:
    """A file in ``tmp`` on its way to ``new``. Every method blocks."""

    def __init__(self, maildir: Path, name: str) -> None:
        self._maildir = maildir
        self._temporary = maildir / "tmp" / name
        self._final = maildir / "new" / name
        self._fd = -1

    def write_all(self, octets: bytes) -> None:
        try:
            self.write(octets)
            self.publish()
        finally:
            self.discard()

    def write(self, octets: bytes) -> None:
        if self._fd < 0:
            self._open()
        rest = memoryview(octets)
        while rest:
            rest = rest[os.write(self._fd, rest) :]

    def _open(self) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        try:
            self._fd = os.open(self._temporary, flags, 0o600)
        except FileNotFoundError:
            for part in ("tmp", "new", "cur"):
                _make(self._maildir / part)
            self._fd = os.open(self._temporary, flags, 0o600)

    def publish(self) -> None:
        """Make it durable, and visible in one step."""
        os.fsync(self._fd)
        try:
            self._temporary.rename(self._final)
        except FileNotFoundError:
            _make(self._final.parent)
            self._temporary.rename(self._final)
        _sync_directory(self._final.parent)

    def discard(self) -> None:
        """Give up what was not published."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            self._temporary.unlink(missing_ok=True)


def _make(directory: Path) -> None:
    """Make a directory and its parents, each durable in the one above it."""
    if directory.is_dir():
        return
    if not directory.parent.is_dir():
        _make(directory.parent)
    directory.mkdir(mode=0o700, exist_ok=True)
    _sync_directory(directory.parent)


def _sync_directory(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
