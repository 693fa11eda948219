"""Waiting for real servers: the one place of the suite where real time passes.

Knows nothing of mail.
"""

from __future__ import annotations

import itertools
import os
import socket
import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def pause(seconds: float) -> None:
    """Let real time pass. Programs outside this process know no virtual clock."""
    threading.Event().wait(seconds)


def wait_for(what: str, probe: Callable[[], T | None], timeout: float = 15.0) -> T:
    """Call ``probe`` until it returns something true, and return that.

    Raises AssertionError naming ``what`` after ``timeout`` seconds.
    """
    end = time.monotonic() + timeout
    while True:
        if found := probe():
            return found
        if time.monotonic() > end:
            raise AssertionError(f"waited {timeout} s for {what}")
        pause(0.02)


# Below the kernel's ephemeral range, so that no outgoing connection takes one meanwhile; two
# runs side by side start at different places.
_candidates = (10_000 + (os.getpid() * 97 + n) % 20_000 for n in itertools.count())


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on at this moment; never the same twice."""
    for port in _candidates:
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("unreachable: the candidates never end")


def answers(port: int, greeting: bytes = b"") -> bool:
    """Whether a server on 127.0.0.1 accepts, and says ``greeting`` first if one is given."""
    try:
        with socket.create_connection(("127.0.0.1", port), 2) as connection:
            if not greeting:
                return True
            connection.settimeout(5)
            return connection.recv(512).startswith(greeting)
    except OSError:
        return False
