"""The control socket: one question, one answer, for whoever may open it.

Who may is the file's mode (0600) in a directory of ours (0700). Knows no question.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, Never

import trio

from edgerelay.control.channel import Channel
from edgerelay.control.frames import FrameError
from edgerelay.control.messages import (
    Failure,
    Message,
    QueueAct,
    QueueList,
    QueueShow,
    Reload,
    Request,
    Response,
    StatusRequest,
)
from edgerelay.control.socket_path import bindable

#: Operators at once; further ones wait in the backlog.
MAX_CONNECTIONS: Final = 16
#: Seconds a question may take to arrive, and its answer to leave.
TRANSFER_WITHIN: Final = 10.0
#: Seconds an answer may take to be found. Longer than workers are given to answer or start.
ANSWER_WITHIN: Final = 120.0

AnswerFunction = Callable[[Request], Awaitable[Response]]


async def serve_control(
    path: Path,
    answer: AnswerFunction,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> Never:
    """Serve for ever; started once the socket accepts. Raises OSError if it cannot be bound.

    A socket left by a process that died is replaced: who holds the lock of the state
    directory knows that no one else listens there.
    """
    with _listen(path) as listening:
        slots = trio.CapacityLimiter(MAX_CONNECTIONS)
        try:
            async with trio.open_nursery() as nursery:
                task_status.started()
                await _accept(listening, answer, slots, nursery)
        finally:
            path.unlink(missing_ok=True)  # noqa: ASYNC240 - one system call at the end
    raise AssertionError("unreachable: accepting never ends by itself")


def _listen(path: Path) -> trio.socket.SocketType:
    path.unlink(missing_ok=True)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        before = os.umask(0o177)  # never open to others, not even for a moment
        try:
            with bindable(path) as address:
                listening.bind(address)
        finally:
            os.umask(before)
        listening.listen(MAX_CONNECTIONS)
        listening.setblocking(False)
    except BaseException:
        listening.close()
        raise
    return trio.socket.from_stdlib_socket(listening)


async def _accept(
    listening: trio.socket.SocketType,
    answer: AnswerFunction,
    slots: trio.CapacityLimiter,
    nursery: trio.Nursery,
) -> Never:
    while True:
        token = object()
        await slots.acquire_on_behalf_of(token)
        try:
            accepted, _ = await listening.accept()
        except OSError:  # out of descriptors, or the client is gone already
            slots.release_on_behalf_of(token)
            await trio.sleep(0.1)
            continue

        async def serve(
            accepted: trio.socket.SocketType = accepted, token: object = token
        ) -> None:
            try:
                await answer_one(Channel(trio.SocketStream(accepted)), answer)
            finally:
                slots.release_on_behalf_of(token)

        nursery.start_soon(serve)


async def answer_one(channel: Channel, answer: AnswerFunction) -> None:
    """Read one question and answer it, each within its time; then close.

    Never raises but for cancellation: a peer that is gone or talks nonsense is forgotten.
    """
    try:
        request = None
        with trio.move_on_after(TRANSFER_WITHIN):
            request = await channel.receive()
        if request is not None:
            response = await _answer(request, answer)
            with trio.move_on_after(TRANSFER_WITHIN):
                await channel.send(response)
    except (FrameError, trio.BrokenResourceError, trio.ClosedResourceError):
        return
    finally:
        with trio.move_on_after(1, shield=True):
            await channel.aclose()


async def _answer(request: Message, answer: AnswerFunction) -> Response:
    if not isinstance(request, StatusRequest | QueueList | QueueShow | QueueAct | Reload):
        return Failure(text=f"{type(request).__name__} is no question")
    try:
        with trio.fail_after(ANSWER_WITHIN):
            return await answer(request)
    except trio.TooSlowError:
        return Failure(text=f"no answer within {ANSWER_WITHIN:g} s")
    except Exception as error:  # one question must not end the server
        return Failure(text=f"{type(error).__name__}: {error}")
