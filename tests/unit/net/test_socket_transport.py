"""Connecting, and what a socket does that memory does not."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import trio

from edgerelay.net.reaper import Reaper
from edgerelay.net.socket_transport import SocketTransport, dial
from edgerelay.net.transport import ConnectionLost


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock


async def test_dial_reaches_and_names_both_ends(listening: socket.socket) -> None:
    reaper = Reaper()
    port = listening.getsockname()[1]
    transport = await dial(("127.0.0.1", port), reaper, source="127.0.0.2", timeout=5)
    accepted, (host, _) = listening.accept()
    with closing(accepted):
        assert host == "127.0.0.2"
        assert transport.peer == f"127.0.0.1:{port}"
        assert transport.local.startswith("127.0.0.2:")
        assert len(reaper) == 1
    transport.abort()
    assert len(reaper) == 0


async def test_nobody_listens(listening: socket.socket) -> None:
    port = listening.getsockname()[1]
    listening.close()
    with pytest.raises(ConnectionLost, match="refused"):
        await dial(("127.0.0.1", port), Reaper(), source=None, timeout=5)


async def test_a_connection_has_a_deadline(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as full:
        full.bind(str(tmp_path / "full.sock"))
        full.listen(0)
        with socket.socket(socket.AF_UNIX) as first:
            first.connect(str(tmp_path / "full.sock"))
            with pytest.raises(ConnectionLost, match=r"within 0\.2 s"):
                await dial(tmp_path / "full.sock", Reaper(), source=None, timeout=0.2)


@pytest.mark.parametrize("address", [("no-such-host", 25), Path("/nonexistent/sock")])
async def test_what_is_no_address_is_a_lost_connection(address: tuple[str, int] | Path) -> None:
    with pytest.raises(ConnectionLost):
        await dial(address, Reaper(), source=None, timeout=5)


async def test_a_cancelled_dial_leaves_no_socket(tmp_path: Path) -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        await dial(("127.0.0.1", 9), Reaper(), source=None, timeout=5)
    assert scope.cancelled_caught


async def test_closing_does_not_wait_for_a_peer_with_nothing_to_send() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        ours.setblocking(False)
        transport = SocketTransport(ours, Reaper())
        await transport.send(b"221 bye\r\n")
        with trio.fail_after(0.5):
            await transport.aclose(linger=False)
        assert theirs.recv(100) == b"221 bye\r\n"
        assert theirs.recv(100) == b""


async def test_closing_waits_a_second_for_a_peer_that_never_ends() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        ours.setblocking(False)
        transport = SocketTransport(ours, Reaper())
        started = trio.current_time()
        await transport.aclose()
        assert 0.5 < trio.current_time() - started < 3
