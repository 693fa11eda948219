"""The two seams: a thread for what blocks, nothing at all under virtual time."""

from __future__ import annotations

import threading

import pytest
import trio
from trio.testing import MockClock

from edgerelay.runtime import in_thread, inline


async def test_in_thread_runs_elsewhere_and_returns_the_result() -> None:
    assert await in_thread(threading.get_ident) != threading.get_ident()


async def test_in_thread_passes_on_what_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        await in_thread(lambda: 1 // 0)


async def test_inline_runs_here(autojump_clock: MockClock) -> None:
    assert await inline(threading.get_ident) == threading.get_ident()


async def test_inline_does_nothing_once_cancelled() -> None:
    done = []
    with trio.CancelScope() as scope:
        scope.cancel()
        await inline(lambda: done.append(1))
    assert not done
