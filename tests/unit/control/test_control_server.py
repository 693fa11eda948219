"""The control socket answers one question a connection, and survives every peer."""

from __future__ import annotations

import stat
from functools import partial
from pathlib import Path

import pytest
import trio
import trio.testing
from trio.testing import memory_stream_pair

from edgerelay.control.channel import Channel
from edgerelay.control.client import ask
from edgerelay.control.messages import (
    Failure,
    Heartbeat,
    Message,
    QueueListing,
    Request,
    Response,
    StatusRequest,
)
from edgerelay.control.server import ANSWER_WITHIN, TRANSFER_WITHIN, answer_one, serve_control


async def listing(request: Request) -> Response:
    return QueueListing(entries=())


async def exchange(message: Message, answer: object = listing) -> Message | None:
    """One connection in memory."""
    near, far = memory_stream_pair()
    theirs = Channel(far)
    assert callable(answer)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(answer_one, Channel(near), answer)
        await theirs.send(message)
        response = await theirs.receive()
        assert await theirs.receive() is None
    return response


async def test_a_question_is_answered_and_the_connection_closed() -> None:
    assert await exchange(StatusRequest()) == QueueListing(entries=())


async def test_what_is_no_question_is_refused() -> None:
    assert await exchange(Heartbeat()) == Failure(text="Heartbeat is no question")


async def test_an_error_is_told_to_the_operator_and_ends_nothing() -> None:
    async def fail(request: Request) -> Response:
        raise KeyError("shard")

    assert await exchange(StatusRequest(), fail) == Failure(text="KeyError: 'shard'")


async def test_an_answer_that_does_not_come_is_given_up(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def sleep(request: Request) -> Response:
        await trio.sleep_forever()
        raise AssertionError

    answer = await exchange(StatusRequest(), sleep)
    assert answer == Failure(text=f"no answer within {ANSWER_WITHIN:g} s")
    assert trio.current_time() == pytest.approx(ANSWER_WITHIN)


async def test_a_peer_that_asks_nothing_is_left(autojump_clock: trio.testing.MockClock) -> None:
    near, _ = memory_stream_pair()
    await answer_one(Channel(near), listing)
    assert trio.current_time() == pytest.approx(TRANSFER_WITHIN)


async def test_a_peer_that_reads_nothing_is_left(autojump_clock: trio.testing.MockClock) -> None:
    near, far = trio.testing.lockstep_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(answer_one, Channel(near), listing)
        await Channel(far).send(StatusRequest())
    assert trio.current_time() == pytest.approx(TRANSFER_WITHIN)


async def test_a_peer_that_talks_nonsense_is_left() -> None:
    near, far = memory_stream_pair()
    await far.send_all(b"GET / HTTP/1.1\r\n\r\n")
    await answer_one(Channel(near), listing)


# With a real socket, in real time.


async def test_the_socket_is_ours_alone_and_answers(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(serve_control, path, listing))
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        for _ in range(3):
            answer = await trio.to_thread.run_sync(ask, path, StatusRequest(), 5)
            assert answer == QueueListing(entries=())
        nursery.cancel_scope.cancel()
    assert not path.exists()


async def test_a_socket_that_was_left_behind_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    path.touch()
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(serve_control, path, listing))
        assert path.is_socket()
        nursery.cancel_scope.cancel()
