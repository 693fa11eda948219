"""The machine's own names, from /etc/hosts, for next hops that an administrator configured.

Read here rather than through getaddrinfo, which would also ask the DNS: other servers than
the configured ones, in a thread, with its own time-outs and search domains.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Final

import trio

from edgerelay.runtime import RunBlocking

_HOSTS: Final = Path("/etc/hosts")
_READ_EVERY: Final = 30.0  #: seconds
_LIMIT: Final = 1024 * 1024  #: octets that are read; some files block half the world


class HostsFile:
    """A `edgerelay.relay.finding.Hosts`. A file that cannot be read holds no names."""

    def __init__(self, run_blocking: RunBlocking, path: Path = _HOSTS) -> None:
        self._run_blocking = run_blocking
        self._path = path
        self._names: dict[str, list[str]] = {}
        self._read_at = float("-inf")

    async def __call__(self, name: str) -> Sequence[str]:
        if trio.current_time() >= self._read_at + _READ_EVERY:
            self._read_at = trio.current_time()
            self._names = await self._run_blocking(self._read)
        return self._names.get(name, ())

    def _read(self) -> dict[str, list[str]]:
        names: dict[str, list[str]] = {}
        try:
            with self._path.open(errors="replace") as file:
                text = file.read(_LIMIT)
        except OSError:
            return names
        for address, name in _entries(text):
            names.setdefault(name, []).append(address)
        return names


def _entries(text: str) -> Iterable[tuple[str, str]]:
    for line in text.splitlines():
        address, *names = line.partition("#")[0].split() or [""]
        try:
            ip = str(ip_address(address))
        except ValueError:
            continue  # hosts(5) knows no other form; what is no address is nobody's
        yield from ((ip, name.lower().rstrip(".")) for name in names)
