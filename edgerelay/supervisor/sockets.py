"""The listening sockets, for as long as the relay runs: workers come and go, these stay."""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import chain
from typing import Final

from edgerelay.supervisor.inherited import Inherited, inherited_sockets
from edgerelay.supervisor.start import StartError, bind, bound_name
from edgerelay.units import PASSED

#: A literal and a port, or "fd:NAME" and 0.
Address = tuple[str, int]

#: Seconds in which workers whose supervisor was killed have closed their listening sockets.
PREDECESSORS: Final = 3.0


class Sockets:
    """One for each address of the configuration, in its order; for "fd:NAME" perhaps several."""

    def __init__(
        self,
        addresses: Sequence[Address],
        inherited: Inherited | None = None,
        open_already: Sequence[tuple[Address, list[socket.socket]]] = (),
    ) -> None:
        """Bind what is not open. Raises `StartError`; then nothing is left open that was not."""
        self._inherited: Final = inherited or {}
        spare = list(open_already)
        self._open: list[tuple[Address, list[socket.socket]]] = []
        with ExitStack() as undo:
            for address in addresses:
                known = next((each for each in spare if each[0] == address), None)
                if known is None:
                    known = (address, self._listen(address, undo))
                else:
                    spare.remove(known)
                self._open.append(known)
            undo.pop_all()

    @classmethod
    def at_the_start(cls, addresses: Sequence[Address]) -> Sockets:
        """Bind them all, waiting for who was there a moment ago. Blocks; raises `StartError`."""
        inherited = inherited_sockets()
        patient_until = time.monotonic() + PREDECESSORS
        while True:
            try:
                return cls(addresses, inherited)
            except StartError as error:
                cause = error.__cause__
                in_use = isinstance(cause, OSError) and cause.errno == errno.EADDRINUSE
                if not in_use or time.monotonic() >= patient_until:
                    raise
                time.sleep(0.05)  # noqa: TID251 - there is no loop yet

    def changed_to(self, addresses: Sequence[Address]) -> Sockets:
        """Those for other addresses: what is open already is shared, the rest is bound.

        Raises `StartError`. Afterwards one of the two is to be told `close_all_but` the other.
        """
        return Sockets(addresses, self._inherited, self._open)

    @property
    def groups(self) -> list[tuple[int, ...]]:
        """Descriptors, for each address of the configuration."""
        return [tuple(each.fileno() for each in group) for _, group in self._open]

    @property
    def names(self) -> list[str]:
        """The addresses as bound: port 0 has become a real one."""
        return [bound_name(listening) for _, group in self._open for listening in group]

    @property
    def unused(self) -> list[str]:
        """Names that a service manager passed sockets for, and that no listener has."""
        used = {address for (address, _), _ in self._open}
        return sorted(name for name in self._inherited if PASSED + name not in used)

    def close_all_but(self, others: Sockets | None = None) -> None:
        """Those of a service manager stay open: it has them, too, and they may be wanted again."""
        kept = set(chain.from_iterable(group for _, group in others._open)) if others else set()
        kept |= set(chain.from_iterable(self._inherited.values()))
        for _, group in self._open:
            for listening in set(group) - kept:
                listening.close()

    def _listen(self, address: Address, undo: ExitStack) -> list[socket.socket]:
        host, port = address
        if not host.startswith(PASSED):
            return [undo.enter_context(bind(host, port))]
        name = host.removeprefix(PASSED)
        if any(address == each for each, _ in self._open):
            raise StartError(f"listener: {host} is named twice: its sockets have one listener")
        if name not in self._inherited:
            others = ", ".join(PASSED + each for each in sorted(self._inherited)) or "none at all"
            raise StartError(f"listener: nobody passed a socket {host}; there is {others}")
        return self._inherited[name]
