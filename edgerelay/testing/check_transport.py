"""The contract of `Transport`, for every form that stands for one.

It runs in virtual and in real time alike: deadlines lie a few of the reaper's intervals
ahead, and nothing sleeps.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager

import trio
import trio.lowlevel

from edgerelay.net.transport import ConnectionLost, DeadlinePassed, Transport, TransportError
from edgerelay.testing.certificates import TlsContexts

Pair = tuple[Transport, Transport]
#: Opens a fresh connection whose deadlines are watched, and gives its two ends.
OpenPair = Callable[[], AbstractAsyncContextManager[Pair]]

#: More than any form holds on the way.
_MUCH = bytes(range(256)) * 4096 * 16


async def check_transport(open_pair: OpenPair, tls: TlsContexts, interval: float) -> None:
    """Assert the whole contract; ``interval`` is the reaper's, in seconds."""
    for check in (
        octets_arrive_in_order_both_ways,
        much_data_waits_for_its_reader,
        a_clean_end_is_empty_octets,
        a_limit_leaves_the_rest_for_later,
        the_last_words_arrive_although_the_peer_still_sends,
        an_aborted_peer_is_lost,
        closing_twice_is_quiet_and_a_closed_end_is_lost,
        abort_wakes_who_waits,
        expire_wakes_who_waits_and_no_one_else,
    ):
        async with open_pair() as pair:
            await check(pair)
    for late in (a_late_peer_ends_a_receive, a_peer_that_reads_nothing_ends_a_send):
        async with open_pair() as pair:
            await late(pair, interval)
    async with open_pair() as pair:
        await a_moved_deadline_does_not_fire(pair, interval)
    for politely in (True, False):
        async with open_pair() as pair:
            await a_peer_that_goes_is_noticed_by_who_attends(pair, politely, interval)
        async with open_pair() as pair:
            secured = await _secure(pair, tls)
            await a_peer_that_goes_is_noticed_by_who_attends(secured, politely, interval)
    async with open_pair() as pair:
        await a_peer_that_waits_is_not_lost(pair, interval)
    for secure in (
        tls_carries_octets_and_ends_cleanly,
        a_tls_stream_ends_cleanly_for_a_slow_reader,
        a_truncated_tls_stream_is_lost,
    ):
        async with open_pair() as pair:
            await secure(pair, tls)
    async with open_pair() as pair:
        await a_handshake_with_nonsense_is_lost(pair, tls)
    async with open_pair() as pair:
        await a_silent_handshake_ends_at_the_deadline(pair, tls, interval)


async def read_exactly(transport: Transport, count: int) -> bytes:
    data = b""
    while len(data) < count:
        piece = await transport.receive()
        assert piece, f"ended after {len(data)} of {count} octets"
        data += piece
    return data


async def read_all(transport: Transport) -> bytes:
    pieces = []
    while piece := await transport.receive():
        pieces.append(piece)
    return b"".join(pieces)


async def octets_arrive_in_order_both_ways(pair: Pair) -> None:
    ours, theirs = pair
    assert ours.peer == theirs.local
    assert ours.tls is None
    for turn in range(3):
        await ours.send(b"ask %d" % turn)
        assert await read_exactly(theirs, 5) == b"ask %d" % turn
        await theirs.send(b"answer")
        await theirs.send(b" %d" % turn)
        assert await read_exactly(ours, 8) == b"answer %d" % turn


async def much_data_waits_for_its_reader(pair: Pair) -> None:
    ours, theirs = pair

    async def send() -> None:
        await ours.send(_MUCH)
        await ours.aclose()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        assert await read_all(theirs) == _MUCH


async def a_clean_end_is_empty_octets(pair: Pair) -> None:
    ours, theirs = pair
    await ours.send(b"last words")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ours.aclose)
        assert await read_all(theirs) == b"last words"
        assert await theirs.receive() == b""
        theirs.abort()


async def a_limit_leaves_the_rest_for_later(pair: Pair) -> None:
    ours, theirs = pair
    await ours.send(b"headrest")
    assert await theirs.receive(4) == b"head"
    assert await read_exactly(theirs, 4) == b"rest"


async def the_last_words_arrive_although_the_peer_still_sends(pair: Pair) -> None:
    ours, theirs = pair
    await theirs.send(b"x" * 2000)
    await ours.send(b"421 enough\r\n")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ours.aclose)
        assert await read_all(theirs) == b"421 enough\r\n"
        theirs.abort()


async def an_aborted_peer_is_lost(pair: Pair) -> None:
    ours, theirs = pair
    theirs.abort()
    try:
        # The first may still go into a buffer, and a form may see a plain end.
        while await ours.receive():
            pass
        for _ in range(3):
            await ours.send(_MUCH)
    except ConnectionLost:
        return
    raise AssertionError("an aborted peer took everything")


async def closing_twice_is_quiet_and_a_closed_end_is_lost(pair: Pair) -> None:
    ours, theirs = pair
    theirs.abort()
    theirs.abort()
    await theirs.aclose()
    await ours.aclose()
    await ours.aclose()
    ours.abort()
    for use in (ours.receive, lambda: ours.send(b"x")):
        await _must_raise(ConnectionLost, use)


async def abort_wakes_who_waits(pair: Pair) -> None:
    ours, _ = pair
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_must_raise, ConnectionLost, ours.receive)
        await _settle()
        ours.abort()


async def expire_wakes_who_waits_and_no_one_else(pair: Pair) -> None:
    ours, theirs = pair
    ours.expire()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_must_raise, DeadlinePassed, ours.receive)
        await _settle()
        ours.expire()
    await theirs.send(b"x")
    assert await ours.receive() == b"x"


async def a_late_peer_ends_a_receive(pair: Pair, interval: float) -> None:
    ours, theirs = pair
    start = trio.current_time()
    ours.deadline = start + 2 * interval
    await _must_raise(DeadlinePassed, ours.receive)
    assert trio.current_time() - start >= 2 * interval, "before its time"
    # It was late, but it is not gone: what the deadline's owner wants to say still arrives.
    ours.deadline = math.inf
    await ours.send(b"421 late\r\n")
    assert await read_exactly(theirs, 10) == b"421 late\r\n"
    await theirs.send(b"sorry")
    assert await read_exactly(ours, 5) == b"sorry"


async def a_peer_that_reads_nothing_ends_a_send(pair: Pair, interval: float) -> None:
    ours, _ = pair
    ours.deadline = trio.current_time() + 2 * interval
    await _must_raise(DeadlinePassed, lambda: ours.send(_MUCH))


async def a_moved_deadline_does_not_fire(pair: Pair, interval: float) -> None:
    # Moved so far that no busy machine can reach it: only the old one could fire.
    ours, theirs = pair
    for turn in range(3):
        ours.deadline = trio.current_time() + 2 * interval
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read_exactly, ours, 1)
            await trio.lowlevel.checkpoint()
            ours.deadline = trio.current_time() + 1000
            with trio.move_on_after(4 * interval):
                await trio.sleep_forever()
            await theirs.send(b"%d" % turn)


async def a_peer_that_goes_is_noticed_by_who_attends(
    pair: Pair, politely: bool, interval: float
) -> None:
    theirs, ours = pair
    lost, noted = trio.Event(), list[float]()

    def note() -> None:
        noted.append(trio.current_time())
        lost.set()

    ours.attend(note)
    await trio.sleep(2 * interval)
    assert not noted, "before it went"
    async with trio.open_nursery() as nursery:
        if politely:
            nursery.start_soon(theirs.aclose)
        else:
            theirs.abort()
        with trio.move_on_after(100 * interval):
            await lost.wait()
        assert noted, "its going was not noticed"
        await trio.sleep(2 * interval)
        assert len(noted) == 1, "and once is enough"
        ours.abort()


async def a_peer_that_waits_is_not_lost(pair: Pair, interval: float) -> None:
    theirs, ours = pair
    lost: list[str] = []
    ours.attend(lambda: lost.append("while it waits"))
    await theirs.send(b"QUIT\r\n")
    await trio.sleep(3 * interval)
    ours.unattend()
    theirs.abort()
    await trio.sleep(3 * interval)
    ours.attend(lambda: lost.append("although we closed first"))
    ours.abort()
    ours.attend(lambda: lost.append("although we had closed"))
    await trio.sleep(3 * interval)
    assert not lost, lost


async def tls_carries_octets_and_ends_cleanly(pair: Pair, tls: TlsContexts) -> None:
    client, server = await _secure(pair, tls)
    assert client.tls is not None
    assert server.tls is not None
    assert client.tls.verified
    assert not server.tls.verified
    assert client.tls.version == server.tls.version
    assert str(client.tls).startswith("TLSv1.")

    async def send() -> None:
        await client.send(_MUCH)
        await client.aclose()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        assert await read_all(server) == _MUCH
        await server.aclose()


async def a_tls_stream_ends_cleanly_for_a_slow_reader(pair: Pair, tls: TlsContexts) -> None:
    """The close_notify waits its turn behind what the peer has not read yet."""
    client, server = await _secure(pair, tls)

    async def send() -> None:
        await client.send(_MUCH)
        await client.aclose()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        await trio.sleep(0.1)
        read = 0
        while data := await server.receive(limit=16 * 1024):
            read += len(data)
            await trio.lowlevel.checkpoint()
        assert read == len(_MUCH)
        await server.aclose()


async def a_truncated_tls_stream_is_lost(pair: Pair, tls: TlsContexts) -> None:
    client, server = await _secure(pair, tls)
    await client.send(b"half a mess")
    assert await read_exactly(server, 11) == b"half a mess"
    client.abort()
    await _must_raise(ConnectionLost, lambda: read_all(server))


async def a_handshake_with_nonsense_is_lost(pair: Pair, tls: TlsContexts) -> None:
    client, server = pair
    await client.send(b"EHLO I speak no TLS\r\n")
    await _must_raise(ConnectionLost, lambda: server.start_tls(tls.server, server_side=True))
    await _must_raise(ConnectionLost, server.receive)


async def a_silent_handshake_ends_at_the_deadline(
    pair: Pair, tls: TlsContexts, interval: float
) -> None:
    _, server = pair
    server.deadline = trio.current_time() + 2 * interval
    await _must_raise(DeadlinePassed, lambda: server.start_tls(tls.server, server_side=True))


async def _secure(pair: Pair, tls: TlsContexts) -> Pair:
    client, server = pair

    async def accept() -> None:
        await server.start_tls(tls.server, server_side=True)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(accept)
        await client.start_tls(tls.client, server_side=False, server_hostname=tls.hostname)
    return client, server


async def _must_raise(
    expected: type[TransportError], use: Callable[[], Awaitable[object]]
) -> None:
    try:
        await use()
    except expected:
        return
    raise AssertionError(f"no {expected.__name__}")


async def _settle() -> None:
    for _ in range(5):
        await trio.lowlevel.checkpoint()
