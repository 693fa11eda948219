"""One question about the queue: to the running relay, or to the shards of a stopped one."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from edgerelay.cli.output import NotSo, complain
from edgerelay.control.client import NoAnswer, NotRunning, ask, control_socket
from edgerelay.control.messages import QueueAct, QueueList, QueueShow, Response

R = TypeVar("R")


def put(state_dir: Path, request: QueueList | QueueShow | QueueAct, kind: type[R]) -> R:
    """Return the answer, which must be of this kind. Raises NotSo with what went wrong."""
    try:
        answer = _answer(state_dir, request)
    except (NoAnswer, OSError) as error:
        raise NotSo(f"cannot ask about the queue of {state_dir}: {error}") from error
    if not isinstance(answer, kind):
        text = getattr(answer, "text", f"a {type(answer).__name__} came back")
        raise NotSo(f"cannot ask about the queue of {state_dir}: {text}")
    if unseen := getattr(answer, "unseen", ()):
        complain(f"not all of it: nobody has adopted yet what is in {', '.join(unseen)}")
    return answer


def _answer(state_dir: Path, request: QueueList | QueueShow | QueueAct) -> Response:
    try:
        return ask(control_socket(state_dir), request)
    except NotRunning:
        with stopped(state_dir):
            from edgerelay.cli.offline import answer_offline

            return answer_offline(state_dir / "spool", request)


@contextmanager
def stopped(state_dir: Path) -> Iterator[None]:
    """Keep a relay from starting on this state meanwhile.

    Raises NotSo if one is running, or if there is no state at all. Creates nothing.
    """
    try:
        lock = os.open(state_dir / "lock", os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        raise NotSo(f"no relay has ever run on {state_dir}") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise NotSo(f"the relay on {state_dir} is starting or stopping: try again") from None
    finally:
        os.close(lock)
