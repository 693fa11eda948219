"""What a worker leaves behind is delivered once, by whoever is there, and then forgotten."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from tests.e2e.support.client import Client, message
from tests.e2e.support.edgerelay import Edgerelay
from tests.e2e.support.load import arrivals
from tests.e2e.support.next_hop import NextHop
from tests.e2e.support.waiting import wait_for


def fill(server: Edgerelay, count: int) -> None:
    """Through connections of their own, so that several workers get some."""
    for number in range(count):
        with Client(server.port) as client:
            content = message(identifier=f"m{number}")
            assert client.send("a@src.test", "b@example.test", content).code == 250


def shards(server: Edgerelay) -> list[str]:
    return sorted(path.name for path in (server.state_dir / "spool").iterdir())


def test_fewer_workers_at_the_next_start_deliver_all_of_it(
    relay: Callable[..., Edgerelay],
) -> None:
    hop = NextHop()
    server = relay(f"smtp://127.0.0.1:{hop.port}", workers=3)
    fill(server, 60)
    assert server.stop() == 0
    assert shards(server) == ["0", "1", "2"]
    text = server.config.read_text()
    server.config.write_text(text.replace("workers = 3", "workers = 1"))
    with hop:
        server.start()
        assert server.cli("queue", "flush").returncode == 0
        hop.wait_taken(60)
        wait_for("one shard", lambda: shards(server) == ["0"])
    assert set(arrivals(hop).values()) == {1}
    server.wait_event("shard_removed", shard="1")
    server.wait_event("shard_removed", shard="2")


def test_an_operator_reaches_what_was_adopted(relay: Callable[..., Edgerelay]) -> None:
    server = relay("smtp://127.0.0.1:1", workers=2)
    fill(server, 20)
    server.stop()
    text = server.config.read_text()
    server.config.write_text(text.replace("workers = 2", "workers = 1"))
    server.start()
    wait_for("both shards", lambda: len(server.json("queue", "list")) == 20)
    entries = server.json("queue", "list")
    for entry in entries:
        assert server.cli("queue", "show", entry["queue_id"]).returncode == 0
    held = [entry["queue_id"] for entry in entries[:5]]
    assert server.cli("queue", "hold", *held).returncode == 0
    assert len(server.json("queue", "list", "--status", "held")) == 5
    (worker,) = server.json("status")["workers"]
    assert worker["shards"] == ["0", "1"]
    assert (worker["queue"]["queued"], worker["queue"]["held"]) == (15, 5)
    assert server.cli("queue", "delete", *[entry["queue_id"] for entry in entries]).returncode == 0
    wait_for("one shard", lambda: shards(server) == ["0"])


def test_the_shard_of_a_worker_that_dies_again_and_again_is_adopted_meanwhile(
    relay: Callable[..., Edgerelay],
) -> None:
    hop = NextHop()
    server = relay(f"smtp://127.0.0.1:{hop.port}", workers=2, queue={"retry": ["1s"]})
    fill(server, 30)
    for kill in range(4):  # each restart waits twice as long as the one before
        (victim,) = (e["pid"] for e in server.find("worker_started", worker=0)[-1:])
        server.kill_worker(victim)
        ended = server.wait_event("worker_ended", kill + 1)[-1]
        if ended["restart_in"] > 1:
            break
        wait_for("another one", lambda: len(server.worker_pids()) == 2, 30)
    server.wait_event("shard_adopted", timeout=5)
    with hop:
        hop.wait_taken(30)
        wait_for("two workers", lambda: len(server.worker_pids()) == 2, 30)
        wait_for("an empty queue", lambda: not server.json("queue", "list"))
    assert arrivals(hop) == Counter(f"m{number}" for number in range(30))
