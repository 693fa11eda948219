"""The command line's end of the control socket: blocking, without Trio, so that it starts fast."""

from __future__ import annotations

import socket
import time
from pathlib import Path
from typing import Final

from edgerelay.control.frames import HEADER, FrameError, body_length, decode, encode
from edgerelay.control.messages import (
    Failure,
    QueueActed,
    QueueListing,
    QueueMessage,
    Reloaded,
    Request,
    Response,
    StatusAnswer,
    WorkerStatus,
)
from edgerelay.control.socket_path import bindable

#: Seconds for the whole exchange: more than the relay takes to give up by itself.
DEFAULT_TIMEOUT: Final = 150.0


def control_socket(state_dir: Path) -> Path:
    """Where the relay of this state directory listens."""
    return state_dir / "control.sock"


_ANSWERS: Final = StatusAnswer | WorkerStatus | QueueListing | QueueMessage | QueueActed | Reloaded


class NotRunning(Exception):
    """Nobody listens on the control socket."""


class NoAnswer(Exception):
    """Somebody listens, but there was no good answer. The text is for the operator."""


def ask(path: Path, request: Request, timeout: float = DEFAULT_TIMEOUT) -> Response:
    """Ask the relay that listens at ``path``. The timeout (seconds) is for all of it.

    Raises NotRunning, NoAnswer (a `Failure` from the relay is one too), or PermissionError.
    """
    deadline = time.monotonic() + timeout
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(timeout)
        try:
            with bindable(path) as address:
                sock.connect(address)
        except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError) as error:
            raise NotRunning(f"no relay is running on {path.parent}") from error
        try:
            sock.sendall(encode(request))
            header = _receive(sock, HEADER, deadline)
            message = decode(_receive(sock, body_length(header), deadline))
        except TimeoutError as error:
            raise NoAnswer(f"the relay did not answer within {timeout:g} s") from error
        except (OSError, FrameError) as error:
            raise NoAnswer(f"the relay did not answer: {error}") from error
    if isinstance(message, Failure):
        raise NoAnswer(message.text)
    if isinstance(message, _ANSWERS):
        return message
    raise NoAnswer(f"the relay answered with a {type(message).__name__}")


def _receive(sock: socket.socket, wanted: int, deadline: float) -> bytes:
    parts, missing = [], wanted
    while missing:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        sock.settimeout(left)
        data = sock.recv(min(missing, 1 << 20))
        if not data:
            raise FrameError("the stream ended within a message")
        parts.append(data)
        missing -= len(data)
    return b"".join(parts)
