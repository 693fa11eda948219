"""kill -9 of a worker under load: the next takes over, and what had its 250 arrives."""

from __future__ import annotations

from collections.abc import Callable

from tests.e2e.support.edgerelay import Edgerelay
from tests.e2e.support.load import Load
from tests.e2e.support.next_hop import NextHop
from tests.e2e.support.waiting import pause, wait_for


def test_what_was_acknowledged_arrives(relay: Callable[..., Edgerelay]) -> None:
    with NextHop(keep=lambda content: content[:1000]) as hop:
        server = relay(f"smtp://127.0.0.1:{hop.port}", workers=2)
        with Load(server.port) as load:
            for kill in range(3):
                pause(1)
                server.kill_worker()
                server.wait_event("worker_ended", kill + 1)
                wait_for("two workers again", lambda: len(server.worker_pids()) == 2, 30)
            pause(1)
        assert len(load.acknowledged) > 50
        load.wait_delivered(hop)
        ended_events = server.find("worker_ended")
        assert [event["status"] for event in ended_events] == [-9, -9, -9]
        assert not any(event["expected"] for event in ended_events)
