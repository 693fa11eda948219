"""Counts how often tasks run: what sleeps until there is something to do costs nothing.

Days of virtual time are cheap only if nobody wakes in them, and an idle machine's battery
thinks so too.
"""

from __future__ import annotations

from types import TracebackType
from typing import Self

import trio
from trio.abc import Instrument
from trio.lowlevel import Task


class WakeUps(Instrument):
    """``with WakeUps() as woken: ...; woken.steps``: of every task but the one that asks."""

    def __init__(self) -> None:
        self._own = trio.lowlevel.current_task()
        self.steps = 0

    def __enter__(self) -> Self:
        trio.lowlevel.add_instrument(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        trio.lowlevel.remove_instrument(self)

    def before_task_step(self, task: Task) -> None:
        self.steps += task is not self._own
