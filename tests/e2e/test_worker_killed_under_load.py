"""kill -9 of a worker under load: the next takes over, and what had its 250 arrives."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable

from tests.e2e.support.client import Client, Lost, message
from tests.e2e.support.edgerelay import Edgerelay
from tests.e2e.support.next_hop import NextHop
from tests.e2e.support.waiting import pause, wait_for


def sessions(port: int, count: int, ended: threading.Event, acknowledged: set[str]) -> None:
    """Send until told to stop; remember what was acknowledged."""

    def session(number: int) -> None:
        sent = 0
        while not ended.is_set():
            try:
                with Client(port) as client:
                    while not ended.is_set():
                        identifier = f"s{number}n{sent}"
                        content = message(identifier=identifier)
                        if client.send("a@src.test", "b@example.test", content).code == 250:
                            acknowledged.add(identifier)
                        sent += 1
            except (OSError, Lost):
                sent += 1
                pause(0.02)

    threads = [threading.Thread(target=session, args=(n,)) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_what_was_acknowledged_arrives(relay: Callable[..., Edgerelay]) -> None:
    with NextHop(keep=lambda content: content[:1000]) as hop:
        server = relay(f"smtp://127.0.0.1:{hop.port}", workers=2)
        ended, acknowledged = threading.Event(), set[str]()
        load = threading.Thread(target=sessions, args=(server.port, 10, ended, acknowledged))
        load.start()
        for kill in range(3):
            pause(1)
            server.kill_worker()
            server.wait_event("worker_ended", kill + 1)
            wait_for("two workers again", lambda: len(server.worker_pids()) == 2, 30)
        pause(1)
        ended.set()
        load.join()

        def missing() -> set[str]:
            ids = (re.search(rb"Message-ID: <(\w+)@", t.content) for t in hop.confirmed())
            return acknowledged - {match[1].decode() for match in ids if match}

        assert len(acknowledged) > 50
        wait_for("all that was acknowledged", lambda: not missing(), 60)
        ended_events = server.find("worker_ended")
        assert [event["status"] for event in ended_events] == [-9, -9, -9]
        assert not any(event["expected"] for event in ended_events)
