"""Places, stress, and what somebody hears for whom there is none."""

from __future__ import annotations

import socket

import pytest
import trio
from trio.testing import MockClock

from edgerelay.edge.door import (
    Door,
    Patience,
    connections_within,
    patience_of,
    patience_under_stress,
    turn_away,
)
from edgerelay.edge.settings import EdgeSettings


def test_stress_begins_close_to_the_end_and_ends_well_below() -> None:
    heard: list[bool] = []
    door = Door(100, heard.append)
    for _ in range(94):
        door.enter()
    assert heard == []
    door.enter()
    assert heard == [True]
    for _ in range(15):
        door.leave()
    assert (heard, door.taken, door.left) == ([True], 80, 20)
    door.leave()
    assert heard == [True, False]


async def test_who_waits_at_the_door_is_woken_by_who_leaves(autojump_clock: MockClock) -> None:
    door = Door(1, lambda _: None)
    door.enter()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(door.wait, 60.0)
        await trio.testing.wait_all_tasks_blocked()
        door.leave()
    assert trio.current_time() == 0


async def test_nobody_waits_at_the_door_for_ever(autojump_clock: MockClock) -> None:
    await Door(0, lambda _: None).wait(0.25)
    assert trio.current_time() == 0.25


def test_stress_makes_no_wait_longer() -> None:
    assert patience_under_stress(EdgeSettings("h")) == Patience(10.0, 30.0, is_short=True)
    short = EdgeSettings("h", command_timeout=3.0, data_timeout=4.0)
    assert patience_under_stress(short) == Patience(3.0, 4.0, is_short=True)
    assert patience_of(short) == Patience(3.0, 4.0)


@pytest.mark.parametrize(
    ("wanted", "descriptors", "possible"),
    [
        (10_000, 20_000, 10_000),
        (10_000, 1024, 768),
        (10_000, 200, 136),
        (50, 1024, 50),
        (10, 16, 1),
    ],
)
def test_descriptors_are_left_for_everything_else(
    wanted: int, descriptors: int, possible: int
) -> None:
    assert connections_within(wanted, descriptors) == possible


def pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        client = socket.create_connection(listening.getsockname())
        return client, listening.accept()[0]


def heard(client: socket.socket) -> bytes:
    client.settimeout(5)
    return b"".join(iter(lambda: client.recv(4096), b""))


def test_who_is_turned_away_hears_why_though_it_has_spoken() -> None:
    client, connection = pair()
    with client:
        client.sendall(b"PROXY UNKNOWN\r\n")
        turn_away(connection, "mx.example.org", speaks_tls=False)
        assert heard(client).startswith(b"421 4.3.2 mx.example.org All our places")
    assert connection.fileno() == -1


def test_who_expects_a_handshake_hears_nothing() -> None:
    client, connection = pair()
    with client:
        turn_away(connection, "mx.example.org", speaks_tls=True)
        assert heard(client) == b""


def test_who_has_gone_already_is_no_trouble() -> None:
    client, connection = pair()
    client.close()
    turn_away(connection, "mx.example.org", speaks_tls=False)
    assert connection.fileno() == -1
