"""Which recipients exist, by a file that an administrator writes.

One entry a line: ``user@example.com``, ``@example.com`` (anyone there),
``!user@example.com`` (refused although the domain is open); ``#`` begins a comment. Case
does not count, and ``user+tag`` falls back to ``user``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import trio

from edgerelay.mail.address import Mailbox, domain_key
from edgerelay.observe.events import Observer, Trouble
from edgerelay.runtime import RunBlocking

_LOOK_EVERY: Final = 1.0  #: seconds between two looks at the file
_PROBLEMS: Final = 10  #: lines that one complaint names


class RecipientsFileError(Exception):
    """The file cannot be used. The text names file and lines."""


@dataclass(frozen=True, slots=True)
class RecipientList:
    """A file's meaning: mailboxes and domains in the form that `_form` gives them."""

    listed: frozenset[str]
    refused: frozenset[str]
    domains: frozenset[str]

    def knows(self, mailbox: Mailbox) -> bool:
        """The most exact entry decides: user+tag, then user, then the whole domain."""
        local_part, domain = _form(mailbox)
        for local in (local_part, local_part.partition("+")[0]):
            name = f"{local}@{domain}"
            if name in self.refused:
                return False
            if name in self.listed:
                return True
        return domain in self.domains


def parse(text: str, file: str) -> RecipientList:
    """Read a whole file. Raises `RecipientsFileError` that names ``file`` and the lines."""
    listed: set[str] = set()
    refused: set[str] = set()
    domains: set[str] = set()
    problems: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        entry = line.partition("#")[0].strip()
        if not entry:
            continue
        local_part, at, domain = entry.removeprefix("!").rpartition("@")
        is_refusal = entry.startswith("!")
        if not (at and domain) or any(c.isspace() for c in entry) or "@" in local_part:
            problems.append(f"line {number}: {entry[:80]!r} is no user@domain or @domain")
        elif is_refusal and not local_part:
            problems.append(f"line {number}: {entry[:80]!r} refuses a domain: leave it out")
        elif local_part:
            local, key = _form(Mailbox(local_part, domain))
            (refused if is_refusal else listed).add(f"{local}@{key}")
        else:
            domains.add(domain_key(domain))
    if problems:
        raise RecipientsFileError(f"{file}: {_shortened(problems)}")
    return RecipientList(frozenset(listed), frozenset(refused), frozenset(domains))


def read(path: Path) -> RecipientList:
    """Read the file at ``path``. Raises `RecipientsFileError`. Blocks."""
    try:
        return parse(path.read_text("utf-8-sig"), str(path))
    except OSError as error:
        raise RecipientsFileError(f"{path}: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise RecipientsFileError(f"{path}: octet {error.start} is not UTF-8") from None


_Look = tuple[int, int, int]


class RecipientsFile:
    """Follows a file. One that is broken or gone is complained of, and the old one stands."""

    def __init__(self, path: Path, run_blocking: RunBlocking, observer: Observer) -> None:
        self._path = path
        self._run_blocking = run_blocking
        self._observer = observer
        self._list: RecipientList | None = None
        self._look_at = float("-inf")
        self._seen: _Look | None = None  # at the last look
        self._read: _Look | None = None  # when it was read last, well or not
        self._complaint = ""
        self._lock = trio.Lock()

    async def current(self) -> RecipientList | None:
        """Return the list; None while there never was a good file. Mostly no checkpoint."""
        if self._list is not None and trio.current_time() < self._look_at:
            return self._list
        if self._list is not None and self._lock.locked():
            return self._list  # somebody looks; nobody need wait for that
        async with self._lock:
            if trio.current_time() >= self._look_at:
                self._look_at = trio.current_time() + _LOOK_EVERY
                await self._look()
        return self._list

    async def _look(self) -> None:
        look = await self._run_blocking(self._stat)
        # A file that is being written is left alone until it looks the same twice.
        is_settled = look == self._seen or self._list is None
        self._seen = look
        was_read = look is not None and look == self._read
        if was_read or not is_settled:
            return
        self._read = look
        try:
            self._list = await self._run_blocking(lambda: read(self._path))
            self._complaint = ""
        except RecipientsFileError as error:
            self._complain(str(error))

    def _stat(self) -> _Look | None:
        try:
            status = self._path.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_ino, status.st_size

    def _complain(self, text: str) -> None:
        if text != self._complaint:
            self._complaint = text
            what = "the recipients file cannot be used"
            kept = "" if self._list is None else "; the one before stays in use"
            self._observer(Trouble(where="recipients", what=what, detail=text + kept))


def _form(mailbox: Mailbox) -> tuple[str, str]:
    """Return local part and domain as they are compared; quotes do not count (RFC 5321
    section 4.1.2)."""
    local = mailbox.local_part
    if len(local) > 1 and local[0] == local[-1] == '"':
        local = _unescaped(local[1:-1])
    return local.lower(), mailbox.domain_key


def _unescaped(text: str) -> str:
    characters = iter(text)
    return "".join(next(characters, "") if c == "\\" else c for c in characters)


def _shortened(problems: list[str]) -> str:
    more = len(problems) - _PROBLEMS
    shown: Iterable[str] = problems[:_PROBLEMS]
    return "; ".join(shown) + (f"; and {more} more" if more > 0 else "")
