"""The accept loop, over loopback and in real time."""

from __future__ import annotations

import errno
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing

from edgerelay.edge.boundary import Deliverable
from edgerelay.edge.limits import ClientLimits
from edgerelay.edge.server import Edge
from edgerelay.edge.settings import EdgeSettings, ListenerSettings
from edgerelay.net.reaper import Reaper
from edgerelay.observe.events import Event, SessionEnded, Stress, Trouble, TurnedAway


class NoSpool:
    accepts_mail = False


async def anyone(*_: object, **__: object) -> Deliverable:
    return Deliverable("mx:example.org")


class Exhausted(socket.socket):
    """Has no file descriptors left for the first two connections."""

    failures = 2

    def accept(self) -> tuple[socket.socket, Any]:
        if self.failures:
            self.failures -= 1
            raise OSError(errno.EMFILE, "Too many open files")
        return super().accept()


@pytest.fixture
def listening() -> Iterator[Exhausted]:
    with Exhausted(socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.failures = 0
        sock.bind(("127.0.0.1", 0))
        sock.listen(100)
        sock.setblocking(False)
        yield sock


@asynccontextmanager
async def serving(sock: socket.socket, events: list[Event], **changes: Any) -> AsyncIterator[Edge]:
    settings = EdgeSettings("mx.example.org", **changes)
    reaper = Reaper()
    edge = Edge(
        settings,
        NoSpool(),  # type: ignore[arg-type]  # the part that a session without mail sees
        anyone,
        events.append,
        trio.current_time,
        ClientLimits(settings),
        reaper,
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reaper.run)
        nursery.start_soon(edge.accept, sock, ListenerSettings("l"), nursery)
        with trio.fail_after(10):
            yield edge
        nursery.cancel_scope.cancel()
    assert edge.gauges()["sessions"] == 0
    assert len(reaper) == 0


async def connect(sock: socket.socket) -> trio.SocketStream:
    return await trio.open_tcp_stream(*sock.getsockname())


async def test_many_are_served_at_once(listening: Exhausted) -> None:
    async with serving(listening, []) as edge:
        clients = [await connect(listening) for _ in range(30)]
        for client in clients:
            assert (await client.receive_some()).startswith(b"220 mx.example.org")
        assert edge.gauges()["sessions"] == 30
        for client in clients:
            await client.send_all(b"QUIT\r\n")
            assert (await client.receive_some()).startswith(b"221")
            assert await client.receive_some() == b""
            await client.aclose()


async def test_at_the_cap_the_next_one_waits_for_a_place(listening: Exhausted) -> None:
    async with serving(listening, [], connections=1):
        first, second = await connect(listening), await connect(listening)
        assert (await first.receive_some()).startswith(b"220")
        with trio.move_on_after(0.05) as waited:
            await second.receive_some()
        assert waited.cancelled_caught
        await first.send_all(b"QUIT\r\n")
        assert (await second.receive_some()).startswith(b"220")
        await first.aclose()
        await second.aclose()


async def test_running_out_of_descriptors_is_survived_and_told(listening: Exhausted) -> None:
    events: list[Event] = []
    listening.failures = 2
    async with serving(listening, events):
        client = await connect(listening)
        assert (await client.receive_some()).startswith(b"220")
        await client.aclose()
    troubles = [event for event in events if isinstance(event, Trouble)]
    assert [trouble.what for trouble in troubles] == ["cannot accept"]


async def test_a_stopped_edge_lets_idle_clients_go(listening: Exhausted) -> None:
    async with serving(listening, []) as edge:
        client = await connect(listening)
        assert (await client.receive_some()).startswith(b"220")
        edge.stop()
        assert (await client.receive_some()).startswith(b"421 4.3.2")
        assert await client.receive_some() == b""
        assert edge.is_stopping
        await client.aclose()


async def test_who_finds_no_place_for_long_hears_421(listening: Exhausted) -> None:
    events: list[Event] = []
    async with serving(listening, events, connections=1):
        first, second = await connect(listening), await connect(listening)
        assert (await first.receive_some()).startswith(b"220")
        assert (await second.receive_some()).startswith(b"421 4.3.2 mx.example.org All our places")
        assert await second.receive_some() == b""
        await first.send_all(b"QUIT\r\n")
        assert (await first.receive_some()).startswith(b"221")
        third = await connect(listening)
        assert (await third.receive_some()).startswith(b"220")
        for client in (first, second, third):
            await client.aclose()
    (turned,) = [event for event in events if isinstance(event, TurnedAway)]
    assert (turned.listener, turned.why) == ("l", "full")


async def test_close_to_the_cap_who_is_idle_makes_room(
    listening: Exhausted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgerelay.edge.door._COMMAND_UNDER_STRESS", 0.5)
    events: list[Event] = []
    async with serving(listening, events, connections=20) as edge:
        clients = [await connect(listening) for _ in range(18)]
        for client in clients:
            assert (await client.receive_some()).startswith(b"220")
        assert edge.gauges()["stress"] == 0
        clients.append(await connect(listening))
        assert (await clients[-1].receive_some()).startswith(b"220")
        for client in clients:
            assert (await client.receive_some()).startswith(b"421 4.3.2 mx.example.org Others")
            await client.aclose()
        await trio.testing.wait_all_tasks_blocked(0.1)
        assert edge.gauges()["stress"] == 0
    assert {event.end for event in events if isinstance(event, SessionEnded)} == {"stress"}
    told = [event for event in events if isinstance(event, Stress)]
    assert [(event.is_on, event.at_most) for event in told] == [(True, 20), (False, 20)]
