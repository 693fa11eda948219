"""An operator sees what waits, and decides."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.e2e.support.client import Client, message
from tests.e2e.support.edgerelay import Edgerelay
from tests.e2e.support.next_hop import NextHop
from tests.e2e.support.waiting import wait_for


@pytest.fixture
def hop() -> NextHop:
    """Not started: mail for it waits."""
    return NextHop()


@pytest.fixture
def server(relay: Callable[..., Edgerelay], hop: NextHop) -> Edgerelay:
    server = relay(f"smtp://127.0.0.1:{hop.port}", queue={"retry": ["1h"]}, workers=2)
    with Client(server.port) as client:
        for name in ("ann", "bob"):
            assert client.send(f"{name}@src.test", f"{name}@example.test", message()).code == 250
    server.wait_event("lane_down")
    return server


def queue_ids(server: Edgerelay) -> list[str]:
    return [event["queue_id"] for event in server.find("message")]


def test_list_and_show(server: Edgerelay) -> None:
    listed = server.json("queue", "list")
    assert sorted(entry["queue_id"] for entry in listed) == sorted(queue_ids(server))
    only = server.json("queue", "list", "--from", "ann@src.test")
    assert len(only) == 1
    shown = server.cli("queue", "show", only[0]["queue_id"])
    assert shown.returncode == 0
    assert "ann@example.test" in shown.stdout
    assert server.cli("queue", "show", "NOSUCHID").returncode == 1


def test_flush_tries_at_once(server: Edgerelay, hop: NextHop) -> None:
    with hop:
        assert server.cli("queue", "flush").returncode == 0
        hop.wait_taken(2)
        wait_for("an empty queue", lambda: not server.json("queue", "list"))


def test_hold_keeps_and_release_lets_go(server: Edgerelay, hop: NextHop) -> None:
    held = server.json("queue", "list", "--from", "bob@src.test")[0]["queue_id"]
    assert server.cli("queue", "hold", held).returncode == 0
    assert [e["queue_id"] for e in server.json("queue", "list", "--status", "held")] == [held]
    with hop:
        server.cli("queue", "flush")
        [first] = hop.wait_taken(1)
        assert "ann@example.test" in first.rcpts[0]
        assert server.json("queue", "list", "--status", "held")
        assert server.cli("queue", "release", held).returncode == 0
        hop.wait_taken(2)


def test_delete_forgets(server: Edgerelay, hop: NextHop) -> None:
    victim = server.json("queue", "list", "--from", "ann@src.test")[0]["queue_id"]
    assert server.cli("queue", "delete", victim).returncode == 0
    assert len(server.json("queue", "list")) == 1
    with hop:
        server.cli("queue", "flush")
        [taken] = hop.wait_taken(1)
        assert "bob@example.test" in taken.rcpts[0]


def test_status_says_what_runs(server: Edgerelay) -> None:
    status = server.cli("status")
    assert status.returncode == 0, status.stderr
    assert str(server.port) in status.stdout
    assert server.json("status")


def test_without_a_relay_there_is_no_answer(server: Edgerelay) -> None:
    server.stop()
    done = server.cli("status")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
