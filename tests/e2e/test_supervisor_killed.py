"""kill -9 of the supervisor: its workers finish and go, and another relay starts beside them."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

from tests.e2e.support.client import Client, message
from tests.e2e.support.edgerelay import Edgerelay
from tests.e2e.support.load import Load
from tests.e2e.support.next_hop import NextHop
from tests.e2e.support.waiting import free_port, pause, wait_for


def kill_supervisor(server: Edgerelay) -> list[int]:
    """Returns the workers that it leaves behind."""
    workers = server.worker_pids()
    server.expected_exit = None
    server.stop(signal.SIGKILL)
    return workers


def living(pids: list[int]) -> list[int]:
    """Those that are not even waiting for somebody to notice that they have ended."""
    states = {pid: Path(f"/proc/{pid}/stat") for pid in pids}
    return [
        pid
        for pid, stat in states.items()
        if stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"
    ]


def test_another_one_starts_at_once_beside_the_sessions_of_before(
    relay: Callable[..., Edgerelay],
) -> None:
    with NextHop() as hop:
        port = free_port()
        server = relay(
            f"smtp://127.0.0.1:{hop.port}", listener={"address": f"127.0.0.1:{port}"}, workers=2
        )
        with Client(port) as begun:
            begun.command("MAIL FROM:<a@src.test>")
            begun.command("RCPT TO:<b@example.test>")
            assert begun.command("DATA").code == 354
            begun.write(message(identifier="begun"))
            orphans = kill_supervisor(server)
            server.start()
            with Client(port) as new:
                assert new.send("a@src.test", "b@example.test", message()).code == 250
            assert len(living(orphans)) == 1
            assert begun.command(".").code == 250
        hop.wait_taken(2)
        wait_for("the end of the old workers", lambda: not living(orphans))
        assert len(hop.confirmed()) == 2
        assert not server.find("worker_ended")


def test_what_its_workers_leave_behind_is_adopted(relay: Callable[..., Edgerelay]) -> None:
    hop = NextHop()
    server = relay(f"smtp://127.0.0.1:{hop.port}", workers=2, queue={"retry": ["1s"]})
    with Client(server.port) as client:
        for number in range(20):
            content = message(identifier=f"m{number}")
            assert client.send("a@src.test", "b@example.test", content).code == 250
        orphans = kill_supervisor(server)
        server.start()
    wait_for("the end of the old workers", lambda: not living(orphans))
    with hop:
        hop.wait_taken(20)
        wait_for("an empty queue", lambda: not server.json("queue", "list"))
        wait_for("two shards", lambda: len(list((server.state_dir / "spool").iterdir())) == 2)
    assert len(hop.confirmed()) == 20


def test_supervisors_that_die_under_load_lose_nothing(relay: Callable[..., Edgerelay]) -> None:
    with NextHop(keep=lambda content: content[:1000]) as hop:
        port = free_port()
        server = relay(
            f"smtp://127.0.0.1:{hop.port}", listener={"address": f"127.0.0.1:{port}"}, workers=2
        )
        with Load(port) as load:
            for _ in range(3):
                pause(1)
                kill_supervisor(server)
                server.start()
            pause(1)
        assert len(load.acknowledged) > 50
        load.wait_delivered(hop)
