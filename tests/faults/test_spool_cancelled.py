"""A commit that is cancelled at any of its checkpoints is whole, or leaves nothing at all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest
import trio
from trio.testing import MockClock

from edgerelay.spool import SqliteSpool, open_spool
from edgerelay.spool.api import Finish, NewMessage
from edgerelay.spool.content import PIECE
from edgerelay.testing.check_spool import ARRIVED, due, new_message, read

T = TypeVar("T")
BIG = b"x" * (PIECE + 10)


class CancelsDuring:
    """Runs blocking work like a thread that takes its time, and cancels at the n-th wait."""

    def __init__(self) -> None:
        self.scope = trio.CancelScope()
        self.left = -1

    async def __call__(self, function: Callable[[], T], /) -> T:
        await trio.lowlevel.checkpoint()
        self.tick()
        result = function()
        self.tick()
        with trio.CancelScope(shield=True):  # as trio.to_thread: what was begun is ended
            await trio.lowlevel.checkpoint()
        self.tick()
        return result

    def tick(self) -> None:
        self.left -= 1
        if self.left == 0:
            self.scope.cancel()


@pytest.mark.parametrize("content", [b"small", BIG], ids=["small", "large"])
@pytest.mark.parametrize("at", range(1, 12))
async def test_a_commit_cancelled_anywhere_is_all_or_nothing(
    tmp_path: Path, autojump_clock: MockClock, content: bytes, at: int
) -> None:
    blocking = CancelsDuring()
    async with open_spool(
        tmp_path, run_blocking=blocking, clock=lambda: ARRIVED, observer=lambda _: None
    ) as spool:
        message = await new_message(spool, content=content)
        committed = False
        blocking.left = at
        with blocking.scope:
            await spool.commit(message)
            committed = True
        blocking.left = -1
        await check(spool, message, content, committed, tmp_path)


async def check(
    spool: SqliteSpool, message: NewMessage, content: bytes, committed: bool, path: Path
) -> None:
    found = await due(spool)
    assert len(found) == committed
    gauges = await spool.gauges()
    assert (gauges.messages, gauges.in_flight) == (committed, 0)
    files = list((path / "content").iterdir())
    assert len(files) == (committed and content is BIG)
    message.content.discard()  # a session's own cleanup changes nothing
    for delivery in found:
        assert await read(spool, delivery.message) == content
        await spool.settle(Finish(delivery.key))
    assert list((path / "content").iterdir()) == []


async def test_one_of_many_that_wait_can_leave(autojump_clock: MockClock, tmp_path: Path) -> None:
    scopes = [trio.CancelScope() for _ in range(10)]
    committed = []

    async def commit(spool: SqliteSpool, index: int) -> None:
        message = await new_message(spool)
        with scopes[index]:
            await spool.commit(message)
            committed.append(message.queue_id)

    blocking = CancelsDuring()
    async with open_spool(
        tmp_path, run_blocking=blocking, clock=lambda: ARRIVED, observer=lambda _: None
    ) as spool:
        async with trio.open_nursery() as nursery:
            for index in range(10):
                nursery.start_soon(commit, spool, index)
            await trio.testing.wait_all_tasks_blocked()
            for index in range(0, 10, 2):
                scopes[index].cancel()
        stored = [each.message.queue_id for each in await due(spool)]
        assert sorted(stored) == sorted(committed)
        assert (await spool.gauges()).in_flight == 0


async def test_the_whole_program_may_be_cancelled_in_a_commit(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    blocking = CancelsDuring()
    with trio.move_on_after(60) as program:
        async with open_spool(
            tmp_path, run_blocking=blocking, clock=lambda: ARRIVED, observer=lambda _: None
        ) as spool:
            message = await new_message(spool)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(spool.commit, message)
                await trio.testing.wait_all_tasks_blocked()
                program.cancel()
    async with open_spool(
        tmp_path, run_blocking=blocking, clock=lambda: ARRIVED, observer=lambda _: None
    ) as spool:
        assert len(await due(spool)) <= 1
