"""The next hop takes its time: one copy if it answers in time, and never none."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.e2e.support.client import Client, message
from tests.e2e.support.edgerelay import Edgerelay
from tests.e2e.support.next_hop import Late, NextHop
from tests.e2e.support.waiting import pause, wait_for


def test_a_slow_250_is_waited_for(relay: Callable[..., Edgerelay]) -> None:
    with NextHop(script={"DOT": [Late(1.5)]}) as hop:
        server = relay(f"smtp://127.0.0.1:{hop.port}", queue={"retry": ["300ms"]})
        with Client(server.port) as client:
            assert client.send("a@src.test", "b@example.test", message()).code == 250
        hop.wait_taken(1)
        server.wait_event("delivery", outcome="delivered")
        pause(1)
        assert len(hop.taken) == 1


def test_a_250_after_our_patience_makes_the_one_duplicate_that_nobody_can_avoid(
    relay: Callable[..., Edgerelay],
) -> None:
    with NextHop(script={"DOT": [Late(4.0)]}) as hop:
        server = relay(
            f"smtp://127.0.0.1:{hop.port}",
            queue={"retry": ["300ms"]},
            delivery={"data_end": "1s"},
        )
        with Client(server.port) as client:
            assert client.send("a@src.test", "b@example.test", message()).code == 250
        hop.wait_taken(1)
        server.wait_event("delivery", outcome="delivered")
        wait_for("the late copy", lambda: len(hop.taken) == 2)


@pytest.mark.parametrize("signal_late", [False, True])
def test_a_drain_waits_for_the_answer_to_our_dot(
    relay: Callable[..., Edgerelay], signal_late: bool
) -> None:
    """What the next hop took is recorded before we end: it is not sent again."""
    with NextHop(script={"DOT": [Late(1.2)]}) as hop:
        server = relay(f"smtp://127.0.0.1:{hop.port}", queue={"retry": ["300ms"]})
        with Client(server.port) as client:
            assert client.send("a@src.test", "b@example.test", message()).code == 250
        wait_for("the dot", lambda: any(line.startswith("DATA") for line in hop.commands))
        pause(0.5 if signal_late else 0.1)
        assert server.stop() == 0
        server.start()
        pause(1)
        assert len(hop.taken) == 1
