"""Messages travel whole or not at all."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from trio.testing import MemoryReceiveStream, MemorySendStream, memory_stream_pair

from edgerelay.control.channel import Channel
from edgerelay.control.frames import MAX_FRAME, FrameError, encode
from edgerelay.control.messages import (
    Ask,
    ClientCounts,
    Configure,
    Heartbeat,
    Message,
    StatusRequest,
)

Ends = tuple[Channel, trio.StapledStream[MemorySendStream, MemoryReceiveStream]]


def ends() -> Ends:
    near, far = memory_stream_pair()
    return Channel(near), far


async def test_messages_arrive_in_order_and_as_they_were() -> None:
    near, far = memory_stream_pair()
    ours, theirs = Channel(near), Channel(far)
    sent: list[Message] = [
        Heartbeat(),
        ClientCounts(counts={"192.0.2.1": 3}),
        Ask(id=7, request=StatusRequest()),
    ]
    for message in sent:
        await ours.send(message)
    await ours.aclose()
    assert [await theirs.receive() for _ in sent] == sent
    assert await theirs.receive() is None


async def test_a_message_may_arrive_octet_by_octet(autojump_clock: trio.testing.MockClock) -> None:
    channel, far = ends()
    received = []

    async def receive() -> None:
        received.append(await channel.receive())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive)
        for octet in encode(Configure(settings=b"x" * 50)):
            await far.send_all(bytes([octet]))
            await trio.sleep(0.01)
    assert received == [Configure(settings=b"x" * 50)]


async def test_a_cancelled_receive_loses_nothing(autojump_clock: trio.testing.MockClock) -> None:
    channel, far = ends()
    frame = encode(Heartbeat())
    await far.send_all(frame[:5])
    with trio.move_on_after(1):
        await channel.receive()
    await far.send_all(frame[5:])
    assert await channel.receive() == Heartbeat()


async def test_an_end_within_a_message_is_no_polite_end() -> None:
    channel, far = ends()
    await far.send_all(encode(Heartbeat())[:-1])
    await far.send_eof()
    with pytest.raises(FrameError, match="ended within a message"):
        await channel.receive()


async def test_a_length_beyond_the_bound_is_refused_before_it_is_read() -> None:
    channel, far = ends()
    await far.send_all((MAX_FRAME + 1).to_bytes(4, "big"))
    with pytest.raises(FrameError, match="too long"):
        await channel.receive()


async def test_a_peer_that_is_gone_ends_the_channel() -> None:
    channel, far = ends()
    await far.aclose()
    assert await channel.receive() is None
    with pytest.raises(trio.BrokenResourceError):
        await channel.send(Heartbeat())


async def test_after_half_a_message_nothing_more_is_sent(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """What followed would be read as the rest of it."""
    near, _ = trio.testing.lockstep_stream_pair()
    channel = Channel(near)
    with trio.move_on_after(1):
        await channel.send(Heartbeat())
    with pytest.raises(trio.BrokenResourceError, match="not sent whole"):
        await channel.send(Heartbeat())
