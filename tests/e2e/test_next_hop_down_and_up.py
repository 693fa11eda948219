"""The next hop is away and comes back: the mail waits, then all of it goes at once."""

from __future__ import annotations

from collections.abc import Callable

from tests.e2e.support.client import Client, message
from tests.e2e.support.edgerelay import Edgerelay
from tests.e2e.support.next_hop import NextHop


def send(port: int, count: int) -> None:
    with Client(port) as client:
        for number in range(count):
            content = message(identifier=f"n{number}")
            assert client.send("a@src.test", "b@example.test", content).code == 250


def test_everything_arrives_once_it_is_back(relay: Callable[..., Edgerelay]) -> None:
    hop = NextHop()
    server = relay(f"smtp://127.0.0.1:{hop.port}", queue={"retry": ["1s", "2s"]})
    send(server.port, 30)
    server.wait_event("lane_down")
    with hop:
        taken = hop.wait_taken(30)
        server.wait_event("lane_up")
    assert len(taken) == 30
    span = max(one.at for one in taken) - min(one.at for one in taken)
    assert span < 5, "the whole lane is due when it answers again"


def test_the_second_next_hop_takes_over(relay: Callable[..., Edgerelay]) -> None:
    away = NextHop()
    with NextHop() as hop:
        server = relay(f"smtp://127.0.0.1:{away.port}", f"smtp://127.0.0.1:{hop.port}")
        send(server.port, 10)
        assert len(hop.wait_taken(10)) == 10


def test_mail_outlives_the_relay(relay: Callable[..., Edgerelay]) -> None:
    hop = NextHop()
    server = relay(f"smtp://127.0.0.1:{hop.port}", queue={"retry": ["1s"]})
    send(server.port, 10)
    assert server.stop() == 0
    with hop:
        server.start()
        assert len(hop.wait_taken(10)) == 10
