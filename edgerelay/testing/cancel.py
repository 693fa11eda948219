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
    """Cancels ``scope`` when ``task`` runs on after its ``left``-th wait."""

    def __init__(
        self, task: Task, scope: trio.CancelScope, left: int, *, family: bool = False
    ) -> None:
        self._task, self._scope, self.left, self._family = task, scope, left, family

    def before_task_step(self, task: Task) -> None:
        if task is self._task or (self._family and self._is_below(task)):
            self.left -= 1
            if self.left == 0:
                self._scope.cancel()

    def _is_below(self, task: Task | None) -> bool:
        while task is not None and task is not self._task:
            task = task.parent_nursery and task.parent_nursery.parent_task
        return task is self._task


async def cancel_at(
    number: int, work: Callable[[], Awaitable[object]], *, family: bool = False
) -> bool:
    """Run ``work`` here, cancelling it from its ``number``-th wait on, which is 1 or more.

    Returns False if it ended before that. Other tasks are not counted, unless with ``family``
    those that it starts: each step of one is then a wait.
    """
    with trio.CancelScope() as scope:
        instrument = _CancelAt(trio.lowlevel.current_task(), scope, number, family=family)
        trio.lowlevel.add_instrument(instrument)
        try:
            await work()
        finally:
            trio.lowlevel.remove_instrument(instrument)
    return instrument.left <= 0


class _CancelDuring(Instrument):
    """Cancels ``scope`` while ``task`` is in its ``left``-th wait."""

    def __init__(self, task: Task, scope: trio.CancelScope, left: int) -> None:
        self._task, self._scope, self.left = task, scope, left

    def after_task_step(self, task: Task) -> None:
        if task is self._task:
            self.left -= 1
            if self.left == 0:
                self._scope.cancel()


async def cancel_during(number: int, work: Callable[[], Awaitable[object]]) -> bool:
    """Like `cancel_at`, but while ``work`` is in its ``number``-th wait, as most cancellations
    come: what it waits for is not there yet, and never will be."""
    with trio.CancelScope() as scope:
        instrument = _CancelDuring(trio.lowlevel.current_task(), scope, number)
        trio.lowlevel.add_instrument(instrument)
        try:
            await work()
        finally:
            trio.lowlevel.remove_instrument(instrument)
    return instrument.left <= 0


async def cancel_at_every_checkpoint(
    work: Callable[[], Awaitable[object]], *, family: bool = False
) -> int:
    """Run ``work`` again and again, cancelled one wait later each time, until it ends.

    ``work`` starts from the beginning each time and checks what must hold. Returns how often
    it was cancelled. ``family`` counts the waits of tasks that it starts, too.
    """
    for number in count(1):
        if not await cancel_at(number, work, family=family):
            return number - 1
    raise AssertionError("unreachable")
