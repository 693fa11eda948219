"""Tell the service manager how we are (sd_notify(3)), and that we live; without one, nothing.

What it told us in the environment is taken out of there: our workers are not its business.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import MutableMapping

import trio


class Manager:
    """Datagrams, sent without waiting; a manager that does not listen is no trouble of ours."""

    def __init__(self, environment: MutableMapping[str, str] = os.environ) -> None:
        address = environment.pop("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        usec = environment.pop("WATCHDOG_USEC", "")
        pid = environment.pop("WATCHDOG_PID", "")
        is_ours = not pid or pid == str(os.getpid())
        #: Seconds without a word after which we are ended; None: it does not watch us.
        self.patience = int(usec) / 1e6 if usec.isdigit() and int(usec) and is_ours else None

    def ready(self, status: str) -> None:
        self._tell("READY=1", f"STATUS={status}")

    def reloading(self) -> None:
        self._tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self, within: float) -> None:
        """It will take so many seconds: a manager with less patience gives us those."""
        usec = int(within * 1e6)
        self._tell("STOPPING=1", "STATUS=finishing sessions", f"EXTEND_TIMEOUT_USEC={usec}")

    async def watch(self) -> None:
        """Say that our loop turns, twice in the time that is allowed. Runs until cancelled.

        That is all it says: a worker that is silent we end ourselves.
        """
        while self.patience is not None and self._address:
            self._tell("WATCHDOG=1")
            await trio.sleep(self.patience / 2)

    def _tell(self, *lines: str) -> None:
        if not self._address:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as datagram:
            try:
                datagram.sendto("\n".join(lines).encode(), self._address)
            except OSError:
                return
