"""A session is cancelled at each of its checkpoints in turn, and nothing leaks."""

from __future__ import annotations

from typing import Any

import trio
from trio.testing import MockClock

from edgerelay.net.transport import TransportError
from edgerelay.observe.events import MessageAccepted, SessionEnded
from edgerelay.testing.cancel import cancel_at_every_checkpoint
from edgerelay.testing.memory_transport import MemoryTransport, memory_transport_pair

World = Any  # tests/unit/edge/conftest.py

LINES = [
    b"EHLO client.example\r\n",
    b"MAIL FROM:<a@example.com>\r\n",
    b"RCPT TO:<b@example.org>\r\n",
    b"RCPT TO:<nobody@example.org>\r\n",
    b"DATA\r\n",
    b"Subject: x\r\n\r\nhello\r\n",
    b".\r\n",
    b"QUIT\r\n",
]


async def talk(transport: MemoryTransport) -> bytes:
    heard = b""
    try:
        for line in LINES:
            await transport.send(line)
            heard += await transport.receive() if not line.startswith(b"Subj") else b""
        while data := await transport.receive():
            heard += data
    except TransportError:
        pass
    transport.abort()
    return heard


async def test_cancelled_anywhere_nothing_leaks_and_what_was_committed_was_acknowledged(
    autojump_clock: MockClock, world: World
) -> None:
    async def whole_session() -> None:
        world.events.clear()
        world.spool.messages.clear()
        heard = b""

        async def converse(transport: MemoryTransport) -> None:
            nonlocal heard
            with trio.CancelScope(shield=True):
                heard = await talk(transport)

        async with trio.open_nursery() as nursery:
            ours, theirs = memory_transport_pair(world.reaper)
            nursery.start_soon(converse, ours)
            try:
                await world.edge.run_session(theirs, world.listener)
            finally:
                with trio.CancelScope(shield=True):
                    theirs.abort()
                    await world.assert_nothing_leaks()
                    (ended,) = world.told(SessionEnded)
                    assert len(world.told(MessageAccepted)) == len(world.spool.messages)
                    assert ended.accepted == len(world.spool.messages)
                    await trio.sleep(1)
                    acknowledged = heard.count(b"queued as")
                    assert acknowledged == len(world.spool.messages)

    world.spool.commit_takes = 1.0
    world.directory.takes = 0.5
    assert await cancel_at_every_checkpoint(whole_session) > 10
