"""Sockets that a service manager has bound for us (socket activation, sd_listen_fds(3)).

They are ours by their names: ``address = "fd:smtp"`` is every socket that was passed as "smtp".
"""

from __future__ import annotations

import os
import socket
from collections.abc import MutableMapping
from typing import Final

from edgerelay.supervisor.start import StartError

#: The first one; the others follow without a gap.
FIRST: Final = 3

Inherited = dict[str, list[socket.socket]]


def inherited_sockets(
    environment: MutableMapping[str, str] = os.environ, first: int = FIRST
) -> Inherited:
    """Take what was passed to this process, by name; none of it reaches our children.

    Raises `StartError` for one that nobody could accept from.
    """
    pid = environment.pop("LISTEN_PID", "")
    count = environment.pop("LISTEN_FDS", "")
    names = environment.pop("LISTEN_FDNAMES", "").split(":")
    if pid != str(os.getpid()) or not count.isdigit():
        return {}
    found: Inherited = {}
    for index in range(int(count)):
        name = names[index] if index < len(names) and names[index] else "unknown"
        found.setdefault(name, []).append(_listening(first + index, name))
    return found


def _listening(descriptor: int, name: str) -> socket.socket:
    try:
        os.set_inheritable(descriptor, False)
        passed = socket.socket(fileno=descriptor)
        is_stream = passed.type == socket.SOCK_STREAM
        listens = passed.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError as error:
        raise StartError(f"listener: fd:{name} is no socket: {error.strerror}") from error
    if not is_stream or not listens or passed.family not in (socket.AF_INET, socket.AF_INET6):
        passed.close()
        raise StartError(f"listener: fd:{name} is no listening TCP socket")
    passed.setblocking(False)
    return passed
