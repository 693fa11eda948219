"""What the machine says of itself: its name and its cores."""

from __future__ import annotations

import os
import socket
import threading
from typing import Final

from edgerelay.config.names import domain

#: Seconds for the resolver to complete our name: dead DNS must not stop a start.
_NAME_WITHIN: Final = 2.0


def usable_cores() -> int:
    """Cores that this process may run on, which a container may have limited."""
    return len(os.sched_getaffinity(0)) or 1


def machine_hostname() -> str:
    """The fully qualified name, or as much of it as can be had; "localhost" at worst."""
    name = socket.gethostname()
    if "." not in name:
        name = _canonical(name) or name
    try:
        return domain(name)
    except ValueError:
        return "localhost"


def _canonical(name: str) -> str | None:
    """Ask /etc/hosts and the DNS, in a thread that is left behind if they hang."""
    found: list[str] = []

    def look() -> None:
        try:
            for entry in socket.getaddrinfo(name, None, flags=socket.AI_CANONNAME):
                found.append(entry[3])
        except OSError:
            return

    thread = threading.Thread(target=look, name="hostname", daemon=True)
    thread.start()
    thread.join(_NAME_WITHIN)
    return next((text for text in list(found) if "." in text), None)
