"""The next hop hangs up, at every moment there is: the mail arrives in the end."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.e2e.support.client import Client, message
from tests.e2e.support.edgerelay import Edgerelay
from tests.e2e.support.next_hop import Drop, NextHop
from tests.e2e.support.waiting import pause


@pytest.mark.parametrize("moment", ["GREETING", "EHLO", "MAIL", "RCPT", "DATA", "DOT"])
def test_a_dropped_connection_loses_nothing(relay: Callable[..., Edgerelay], moment: str) -> None:
    with NextHop(script={moment: [Drop(), Drop(b"4")]}) as hop:
        server = relay(f"smtp://127.0.0.1:{hop.port}", queue={"retry": ["300ms"]})
        with Client(server.port) as client:
            assert client.send("a@src.test", "b@example.test", message()).code == 250
        [taken] = hop.wait_taken(1)
        assert taken.content.endswith(message())
        pause(0.8)  # a duplicate would show
        assert len(hop.confirmed()) == 1
        # after our final dot nobody can know: only there it may have been taken before
        assert len(hop.taken) == (3 if moment == "DOT" else 1)
