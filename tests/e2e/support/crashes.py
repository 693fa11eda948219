"""What a disk may hold after a crash at any moment, from a trace of every write and sync.

strace tells what a process wrote, where, and what it synced; from that the directory is built
again as it could be found after a crash at each point:

- "kill": the process died, the page cache lives. Everything that was written is there.
- "power": only what was synced is there: octets by a sync of their file, the name of a content
  file by a sync of its directory.
- "torn": as "power", with some of the writes since, and the last of these torn at a sector.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Literal

Variant = Literal["kill", "power", "torn"]
VARIANTS: tuple[Variant, ...] = ("kill", "power", "torn")
SECTOR = 512

_CALLS = "openat,write,pwrite64,ftruncate,fallocate,fsync,fdatasync,unlink,unlinkat,rename"
_UNFINISHED = " <unfinished ...>"
_RESUMED = re.compile(r"<\.\.\. \w+ resumed>")
_CALL = re.compile(r"(\w+)\((.*)\)\s+= (-?\d+)(?:<([^>]*)>)?")
_HEX = re.compile(r"\\x([0-9a-f]{2})")


def trace(command: Sequence[str], directory: Path) -> list[str]:
    """Run the command; return the lines of its trace, each one whole call, in their order."""
    output = directory / "strace.out"
    strace = shutil.which("strace")
    assert strace, "install strace"
    options = ["-f", "-y", "-xx", "-s", str(1 << 24), "-e", f"trace={_CALLS}", "-o", str(output)]
    subprocess.run([strace, *options, *command], check=True, capture_output=True, timeout=120)
    with output.open() as lines:
        return list(_whole(lines))


def _whole(lines: Iterator[str]) -> Iterator[str]:
    begun: dict[str, str] = {}
    for line in lines:
        pid, _, call = line.rstrip("\n").partition(" ")
        call = call.strip()
        if call.endswith(_UNFINISHED):
            begun[pid] = call.removesuffix(_UNFINISHED)
        elif match := _RESUMED.match(call):
            yield begun.pop(pid) + call[match.end() :]
        else:
            yield call


@dataclass
class _File:
    data: bytearray = field(default_factory=bytearray)
    synced: bytes = b""
    is_named: bool = False
    since: list[tuple[int, bytes]] = field(default_factory=list)  # writes not synced


@dataclass(frozen=True)
class Point:
    """Right after the ``number``-th operation. ``said`` is what the process had promised."""

    number: int
    operation: str
    said: tuple[str, ...]


class Replay:
    """The files below ``root`` as a trace makes them, one operation after the other."""

    def __init__(self, root: Path, lines: Sequence[str]) -> None:
        self._root = str(root)
        self._lines = lines
        self._files: dict[str, _File] = {}
        self.said: list[str] = []  #: lines that the process has written so far

    def points(self) -> Iterator[Point]:
        number = 0
        for line in self._lines:
            if (operation := self._apply(line)) is not None:
                number += 1
                yield Point(number, operation, tuple(self.said))

    def build(self, target: Path, variant: Variant, random: Random) -> None:
        """Make ``target`` what the root could be after a crash now."""
        (target / "content").mkdir(parents=True)
        for name, file in self._files.items():
            data = self._data(file, variant, random)
            is_there = variant == "kill" or file.is_named or "/" not in name
            if variant == "torn" and not is_there:
                is_there = random.random() < 0.5
            if is_there:
                (target / name).write_bytes(data)

    def _data(self, file: _File, variant: Variant, random: Random) -> bytes:
        if variant == "kill":
            return bytes(file.data)
        data = bytearray(file.synced)
        if variant == "torn":
            kept = [write for write in file.since if random.random() < 0.5]
            for index, (offset, octets) in enumerate(kept):
                if index == len(kept) - 1:
                    octets = octets[: random.randrange(0, len(octets) + 1) // SECTOR * SECTOR]
                _write(data, offset, octets)
        return bytes(data)

    def _apply(self, line: str) -> str | None:
        match = _CALL.fullmatch(line)
        if match is None or int(match[3]) < 0:
            return None
        call, arguments = match[1], match[2]
        if call == "write" and arguments.startswith("1<"):
            self.said += _octets(arguments).decode().splitlines()
            return None
        name = self._name(call, arguments, match[4])
        if name is None:
            return None
        return self._do(call, arguments, name)

    def _name(self, call: str, arguments: str, opened: str | None) -> str | None:
        """The file it is about, below the root; None: another one."""
        if call == "openat":
            path = _unescaped(opened or "") if "O_CREAT" in arguments else ""
        elif call in ("unlink", "unlinkat", "rename"):
            quoted = re.search(r'"([^"]*)"', arguments)
            path = _unescaped(quoted[1]) if quoted else ""
        else:
            path = _unescaped(arguments.partition("<")[2].partition(">")[0])
        name = path.removeprefix(self._root + "/") if path.startswith(self._root) else None
        if name is None or name in ("lock", "ballast") or name.endswith("-shm"):
            return None
        return name

    def _do(self, call: str, arguments: str, name: str) -> str | None:
        if call in ("fsync", "fdatasync") and name in ("content", self._root):
            for path, file in self._files.items():
                file.is_named |= path.startswith("content/") == (name == "content")
            return f"{call} {name}/"
        if call == "openat":
            if name in self._files:
                return None
            self._files[name] = _File()
        elif call in ("unlink", "unlinkat"):
            del self._files[name]
        else:
            self._change(self._files[name], call, arguments)
        return f"{call} {name}"

    def _change(self, file: _File, call: str, arguments: str) -> None:
        if call in ("fsync", "fdatasync"):
            file.synced, file.since = bytes(file.data), []
        elif call == "ftruncate":
            del file.data[int(arguments.rpartition(", ")[2]) :]
            file.synced, file.since = bytes(file.data), []  # SQLite's log, which is empty then
        elif call in ("write", "pwrite64"):
            octets = _octets(arguments)
            offset = int(arguments.rpartition(", ")[2]) if call == "pwrite64" else len(file.data)
            _write(file.data, offset, octets)
            file.since.append((offset, octets))
        else:
            raise AssertionError(f"{call} is not replayed yet")


def _write(data: bytearray, offset: int, octets: bytes) -> None:
    data.extend(bytes(max(0, offset - len(data))))
    data[offset : offset + len(octets)] = octets


def _octets(arguments: str) -> bytes:
    return bytes.fromhex(arguments.partition('"')[2].partition('"')[0].replace("\\x", ""))


def _unescaped(path: str) -> str:
    return _HEX.sub(lambda match: chr(int(match[1], 16)), path)
