"""Behind haproxy the client is whom the PROXY header names, and nobody else may send one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.support.client import Client, Lost, message
from tests.e2e.support.edgerelay import Edgerelay
from tests.e2e.support.haproxy import Haproxy
from tests.e2e.support.next_hop import NextHop


@pytest.mark.parametrize("version", [1, 2])
def test_mail_passes_and_the_client_is_known(
    workdir: Path, relay: Callable[..., Edgerelay], version: int
) -> None:
    with NextHop() as hop:
        server = relay(
            f"smtp://127.0.0.1:{hop.port}", listener={"proxy_protocol_from": ["127.0.0.0/8"]}
        )
        with Haproxy(workdir / "haproxy", server.port, version) as haproxy:
            with Client(haproxy.port) as client:
                assert client.send("a@src.test", "b@example.test", message()).code == 250
                own_port = client.local_port
            hop.wait_taken(1)
    # the port is haproxy's client's: the address alone would be loopback either way
    assert server.wait_event("message")[-1]["client"] == f"127.0.0.1:{own_port}"


def test_a_named_client_is_the_one_in_received_and_in_access(
    relay: Callable[..., Edgerelay],
) -> None:
    with NextHop() as hop:
        server = relay(
            f"smtp://127.0.0.1:{hop.port}",
            listener={"proxy_protocol_from": ["127.0.0.1/32"]},
            access={"relay_from": ["198.51.100.0/24"]},
        )
        with Client(
            server.port, first=b"PROXY TCP4 198.51.100.7 203.0.113.1 4711 25\r\n"
        ) as client:
            assert client.send("a@src.test", "b@example.test", message()).code == 250
        [taken] = hop.wait_taken(1)
        assert b"[198.51.100.7]" in taken.content
        with Client(
            server.port, first=b"PROXY TCP4 203.0.113.9 203.0.113.1 4711 25\r\n"
        ) as client:
            client.command("MAIL FROM:<a@src.test>")
            assert client.command("RCPT TO:<b@elsewhere.test>").code == 550


def test_a_proxy_that_says_nothing_first_is_no_client(relay: Callable[..., Edgerelay]) -> None:
    with NextHop() as hop:
        server = relay(
            f"smtp://127.0.0.1:{hop.port}", listener={"proxy_protocol_from": ["127.0.0.1/32"]}
        )
        with pytest.raises((Lost, OSError)):
            Client(server.port, first=b"EHLO not.a.header\r\n")


def test_a_header_from_elsewhere_is_a_bad_command(relay: Callable[..., Edgerelay]) -> None:
    with NextHop() as hop:
        server = relay(
            f"smtp://127.0.0.1:{hop.port}", listener={"proxy_protocol_from": ["192.0.2.0/24"]}
        )
        with Client(server.port, helo=None) as client:
            answer = client.command("PROXY TCP4 198.51.100.7 203.0.113.1 4711 25")
            assert answer.code >= 500
