"""A task that nobody will end is found, and nobody else's is taken for one."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Self

import pytest
import trio
from trio.testing import MockClock

from edgerelay.census import known, strays, tasks_by_kind
from edgerelay.policy import CONTINUE, Connection, Policy, Verdict
from edgerelay.testing import RelayHarness

CONFIG = """
[[policy]]
use = "careless"
[[route]]
domains = ["example.com"]
next_hop = ["smtp://10.0.0.5:25"]
recipients = "any"
"""


async def test_tasks_below_a_known_nursery_are_somebodys() -> None:
    async def session() -> None:
        async with trio.open_nursery() as own:
            own.start_soon(trio.sleep_forever)

    async with trio.open_nursery() as services, trio.open_nursery() as sessions:
        known(services, "services").start_soon(trio.sleep_forever)
        known(sessions, "sessions").start_soon(session)
        await trio.testing.wait_all_tasks_blocked()
        assert tasks_by_kind() == {"services": 1, "sessions": 2}
        assert strays() == []
        services.cancel_scope.cancel()
        sessions.cancel_scope.cancel()


async def test_others_are_strays() -> None:
    async with trio.open_nursery() as nobodys:
        nobodys.start_soon(trio.sleep_forever, name="lost")
        await trio.testing.wait_all_tasks_blocked()
        assert strays() == ["lost"]
        nobodys.cancel_scope.cancel()


async def test_a_policy_that_leaves_a_task_behind_is_told_of(autojump_clock: MockClock) -> None:
    """By `status` while the relay runs, and by the harness at the end of a test."""

    class Careless(Policy[None]):
        async def on_connect(self, connection: Connection) -> Verdict:
            trio.lowlevel.spawn_system_task(trio.sleep, 3600, name="left behind")
            return CONTINUE

    with pytest.raises(AssertionError, match=r"'stray_tasks': 1.*left behind"):
        async with RelayHarness(CONFIG, policies={"careless": Careless}) as relay:
            assert (await relay.send()).is_accepted


async def test_what_a_policy_opened_is_its_own(autojump_clock: MockClock) -> None:
    class Busy(Policy[None]):
        async def __aenter__(self) -> Self:
            self._stack = AsyncExitStack()
            own = await self._stack.enter_async_context(trio.open_nursery())
            self._stack.callback(own.cancel_scope.cancel)
            own.start_soon(trio.sleep_forever, name="its own")
            return self

        async def __aexit__(self, *_: object) -> None:
            await self._stack.aclose()

        async def on_connect(self, connection: Connection) -> Verdict:
            return CONTINUE

    async with RelayHarness(CONFIG.replace("careless", "busy"), policies={"busy": Busy}) as relay:
        assert (await relay.send()).is_accepted
        assert strays() == []


@pytest.mark.parametrize("what", ["contents", "content_files", "claims"])
async def test_what_is_never_let_go_is_told_of(autojump_clock: MockClock, what: str) -> None:
    config = CONFIG.replace('[[policy]]\nuse = "careless"\n', "")

    async def leak() -> None:
        async with RelayHarness(config) as relay:
            if what == "claims":
                relay._station.shards.own.relay._claims.add(1)
            else:
                content = relay._spool.new_content()
                content.feed(b"x" * 300_000)
                await content.flush()

    with pytest.raises(AssertionError, match=f"'{what}': 1"):
        await leak()
