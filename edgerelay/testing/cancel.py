"""Cancels a piece of work at each of its checkpoints in turn.

What must hold after a cancellation holds after every one of them, or it does not hold.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from itertools import count

import trio
from trio.abc import Instrument
from trio.lowlevel import Task


class _CancelAt(Instrument):
    """Cancels ``scope`` at the ``left``-th wait of ``task``: in it, or when it runs on."""

    def __init__(
        self, task: Task, scope: trio.CancelScope, left: int, *, inside: bool, family: bool
    ) -> None:
        self._task, self._scope, self.left = task, scope, left
        self._inside, self._family = inside, family

    def before_task_step(self, task: Task) -> None:
        if not self._inside:
            self._count(task)

    def after_task_step(self, task: Task) -> None:
        if self._inside:
            self._count(task)

    def _count(self, task: Task) -> None:
        if task is self._task or (self._family and self._is_below(task)):
            self.left -= 1
            if self.left == 0:
                self._scope.cancel()

    def _is_below(self, task: Task | None) -> bool:
        while task is not None and task is not self._task:
            task = task.parent_nursery and task.parent_nursery.parent_task
        return task is self._task


async def cancel_at(
    number: int,
    work: Callable[[], Awaitable[object]],
    *,
    inside: bool = False,
    family: bool = False,
) -> bool:
    """Run ``work`` here, cancelling it from its ``number``-th wait on, which is 1 or more.

    Returns False if it ended before that. Other tasks are not counted, but with ``family`` those
    that ``work`` starts are: each of their steps is a wait, too.
    """
    with trio.CancelScope() as scope:
        task = trio.lowlevel.current_task()
        instrument = _CancelAt(task, scope, number, inside=inside, family=family)
        trio.lowlevel.add_instrument(instrument)
        try:
            await work()
        finally:
            trio.lowlevel.remove_instrument(instrument)
    return instrument.left <= 0


async def cancel_during(number: int, work: Callable[[], Awaitable[object]]) -> bool:
    """Like `cancel_at`, but while ``work`` is in its ``number``-th wait, as most cancellations
    come: what it waits for is not there yet, and never will be."""
    return await cancel_at(number, work, inside=True)


async def cancel_at_every_checkpoint(
    work: Callable[[], Awaitable[object]], *, inside: bool = False, family: bool = False
) -> int:
    """Run ``work`` again and again, cancelled one wait later each time, until it ends.

    ``work`` starts from the beginning each time and checks what must hold. Returns how often
    it was cancelled. For ``inside`` and ``family`` see `cancel_at`.
    """
    for number in count(1):
        if not await cancel_at(number, work, inside=inside, family=family):
            return number - 1
    raise AssertionError("unreachable")
