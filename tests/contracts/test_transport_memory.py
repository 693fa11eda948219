"""The memory form keeps the contract of `Transport`, in virtual time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio
import trio.testing

from edgerelay.net.reaper import Reaper
from edgerelay.testing.certificates import tls_contexts
from edgerelay.testing.check_transport import Pair, check_transport
from edgerelay.testing.memory_transport import memory_transport_pair


@asynccontextmanager
async def open_pair() -> AsyncIterator[Pair]:
    reaper = Reaper()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reaper.run)
        client, server = memory_transport_pair(reaper, capacity=4096)
        yield client, server
        await client.aclose()
        await server.aclose()
        nursery.cancel_scope.cancel()
    assert len(reaper) == 0


async def test_memory_keeps_the_contract(autojump_clock: trio.testing.MockClock) -> None:
    await check_transport(open_pair, tls_contexts(), interval=1.0)
