"""Run a coroutine in the current task, and say so when it first has to wait."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from contextvars import copy_context
from types import coroutine
from typing import Any, TypeVar

T = TypeVar("T")


@coroutine
def step(coro: Coroutine[Any, Any, T], blocked: Callable[[], None]) -> Generator[Any, Any, T]:
    """Await ``coro`` in a context of its own; call ``blocked`` just before it first sleeps.

    What Trio and the coroutine say to each other is passed on unread, so this is as if
    the coroutine had called ``blocked`` itself. ``blocked`` must not raise: whatever will
    wake the task is already armed.
    """
    run = copy_context().run  # its context variables are its own, as in a task
    resume: Callable[[Any], Any] = coro.send
    value: Any = None
    waited = False
    try:
        while True:
            try:
                trap = run(resume, value)
            except StopIteration as stop:
                result: T = stop.value
                return result
            if not waited:
                waited = True
                blocked()
            try:
                resume, value = coro.send, (yield trap)
            except BaseException as error:  # Trio sends outcomes; close() and others throw
                resume, value = coro.throw, error
    finally:
        # What leaves here has this frame in its traceback: to hold it would be a cycle, and all
        # that the frames below hold, a message perhaps, would stay until the collector comes.
        del value
