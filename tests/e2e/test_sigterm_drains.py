"""SIGTERM: what was begun is finished, what idles is told 421, and nothing takes longer than
``drain``."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

import pytest

from tests.e2e.support.client import Client, Lost, message
from tests.e2e.support.edgerelay import Edgerelay
from tests.e2e.support.next_hop import NextHop
from tests.e2e.support.waiting import pause


def test_a_transaction_that_was_begun_ends_with_its_250(
    relay: Callable[..., Edgerelay],
) -> None:
    with NextHop() as hop:
        server = relay(f"smtp://127.0.0.1:{hop.port}")
        with Client(server.port) as idle, Client(server.port) as busy:
            busy.command("MAIL FROM:<a@src.test>")
            busy.command("RCPT TO:<b@example.test>")
            assert busy.command("DATA").code == 354
            busy.write(message())
            os.kill(server.pid, signal.SIGTERM)
            assert idle.read().code == 421
            pause(0.5)
            answer = busy.command(".")
            assert answer.code == 250, answer
        assert server.stop() == 0
        queued = len(hop.confirmed())
        server.start()
        if not queued:
            hop.wait_taken(1)
        assert len(hop.confirmed()) == 1


def test_drain_is_the_bound(relay: Callable[..., Edgerelay]) -> None:
    server = relay("smtp://127.0.0.1:1", drain="2s")
    with Client(server.port) as client:
        client.command("MAIL FROM:<a@src.test>")
        client.command("RCPT TO:<b@example.test>")
        assert client.command("DATA").code == 354
        client.write(message())
        start = time.monotonic()
        os.kill(server.pid, signal.SIGTERM)
        assert client.read().code == 421, "instead of the answer to the message"
        with pytest.raises((Lost, OSError)):
            client.read()
        assert server.stop() == 0
        assert 1.0 < time.monotonic() - start < 10.0
