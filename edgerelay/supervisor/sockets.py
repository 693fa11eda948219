"""The listening sockets, for as long as the relay runs: workers come and go, these stay."""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Final

from edgerelay.supervisor.start import StartError, bind, bound_name

Address = tuple[str, int]

#: Seconds in which workers whose supervisor was killed have closed their listening sockets.
PREDECESSORS: Final = 3.0


class Sockets:
    """One for each address of the configuration, in its order. Closed by `close`."""

    def __init__(self, addresses: Sequence[Address]) -> None:
        """Bind them all. Raises `StartError`; then none is left open."""
        self._open: list[tuple[Address, socket.socket]] = []
        self._open = self.opened_for(addresses)

    @classmethod
    def at_the_start(cls, addresses: Sequence[Address]) -> Sockets:
        """Bind them all, waiting for who was there a moment ago. Blocks; raises `StartError`."""
        patient_until = time.monotonic() + PREDECESSORS
        while True:
            try:
                return cls(addresses)
            except StartError as error:
                cause = error.__cause__
                in_use = isinstance(cause, OSError) and cause.errno == errno.EADDRINUSE
                if not in_use or time.monotonic() >= patient_until:
                    raise
                time.sleep(0.05)  # noqa: TID251 - there is no loop yet

    @property
    def fds(self) -> tuple[int, ...]:
        return tuple(listening.fileno() for _, listening in self._open)

    @property
    def names(self) -> list[str]:
        """The addresses as bound: port 0 has become a real one."""
        return [bound_name(listening) for _, listening in self._open]

    def changed_to(self, addresses: Sequence[Address]) -> Sockets:
        """Those for other addresses: what is open already is shared, the rest is bound.

        Raises `StartError`. Afterwards one of the two is to be told `close_all_but` the other.
        """
        changed = Sockets(())
        changed._open = self.opened_for(addresses)
        return changed

    def opened_for(self, addresses: Sequence[Address]) -> list[tuple[Address, socket.socket]]:
        spare = list(self._open)
        wanted: list[tuple[Address, socket.socket]] = []
        with ExitStack() as undo:
            for address in addresses:
                known = next((each for each in spare if each[0] == address), None)
                if known is not None:
                    spare.remove(known)
                else:
                    known = (address, undo.enter_context(bind(*address)))
                wanted.append(known)
            undo.pop_all()
        return wanted

    def close_all_but(self, others: Sockets | None = None) -> None:
        kept = {listening for _, listening in others._open} if others else set()
        for _, listening in self._open:
            if listening not in kept:
                listening.close()
