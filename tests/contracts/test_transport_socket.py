"""The socket form keeps the contract of `Transport`, over TCP and over a Unix socket."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from edgerelay.net.reaper import Reaper
from edgerelay.net.socket_transport import SocketTransport, dial
from edgerelay.testing.certificates import tls_contexts
from edgerelay.testing.check_transport import OpenPair, Pair, check_transport

INTERVAL = 0.02


def opener(listen: Callable[[], socket.socket]) -> OpenPair:
    @asynccontextmanager
    async def open_pair() -> AsyncIterator[Pair]:
        reaper = Reaper(INTERVAL)
        with listen() as listening:
            name = listening.getsockname()
            where = Path(name) if isinstance(name, str) else (name[0], name[1])
            async with trio.open_nursery() as nursery:
                nursery.start_soon(reaper.run)
                client = await dial(where, reaper, source=None, timeout=5)
                sock, _ = listening.accept()
                sock.setblocking(False)
                server = SocketTransport(sock, reaper)
                with trio.fail_after(30):
                    yield client, server
                client.abort()
                await server.aclose()
                nursery.cancel_scope.cancel()
        assert len(reaper) == 0

    return open_pair


def tcp(family: socket.AddressFamily, host: str) -> Callable[[], socket.socket]:
    def listen() -> socket.socket:
        sock = socket.socket(family)
        sock.bind((host, 0))
        sock.listen()
        return sock

    return listen


async def test_tcp_keeps_the_contract() -> None:
    await check_transport(
        opener(tcp(socket.AF_INET, "127.0.0.1")), tls_contexts(), interval=INTERVAL
    )


async def test_a_unix_socket_keeps_the_contract(tmp_path: Path) -> None:
    numbers = iter(range(100))

    def listen() -> socket.socket:
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(str(tmp_path / f"{next(numbers)}.sock"))
        sock.listen()
        return sock

    await check_transport(opener(listen), tls_contexts(), interval=INTERVAL)


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")
async def test_ipv6_is_written_in_brackets() -> None:
    async with opener(tcp(socket.AF_INET6, "::1"))() as (client, server):
        assert client.peer.startswith("[::1]:")
        assert server.local == client.peer
