"""What `check` asks the network: loopback only, in real time, each question bounded."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import trio

from edgerelay.cli import reaching
from edgerelay.cli.findings import Finding, Grade
from edgerelay.cli.reaching import network_findings
from edgerelay.config import parse


async def findings(*hops: str, dns: str = "127.0.0.1:9") -> dict[str, Finding]:
    listed = ", ".join(f'"{hop}"' for hop in hops)
    text = (
        f'hostname = "mx.test"\n[dns]\nservers = ["{dns}"]\ntimeout = "200ms"\n'
        f'[[route]]\ndomains = ["example.com"]\nnext_hop = [{listed}]\n'
    )
    return {f.what: f for f in await network_findings(parse(text.encode(), "e.toml"))}


async def peer(nursery: trio.Nursery, greeting: bytes) -> str:
    """A server on loopback that says one thing; returns its address."""

    async def greet(stream: trio.SocketStream) -> None:
        await stream.send_all(greeting)
        if greeting:
            await stream.receive_some()

    listeners = await nursery.start(trio.serve_tcp, greet, 0)
    port = listeners[0].socket.getsockname()[1]
    return f"127.0.0.1:{port}"


async def hop_finding(greeting: bytes, scheme: str = "smtp") -> Finding:
    async with trio.open_nursery() as nursery:
        hop = f"{scheme}://{await peer(nursery, greeting)}"
        found = (await findings(hop))[f"next hop {hop}"]
        nursery.cancel_scope.cancel()
    return found


async def test_a_hop_that_greets_is_good() -> None:
    found = await hop_finding(b"220 mail.example ESMTP\r\n")
    assert (found.grade, found.text) == (Grade.GOOD, "220 mail.example ESMTP")
    found = await hop_finding(b"220-mail\r\n220 ready\r\n", "lmtp")
    assert found.grade is Grade.GOOD


@pytest.mark.parametrize(
    ("greeting", "said"),
    [
        (b"554 go away\r\n", "greets with 554 go away"),
        (b"SSH-2.0-x\x1b[2J\r\n", r"greets with SSH-2.0-x\x1b[2J"),
        (b"", "hangs up on us"),
        (b"x" * 5000, "greets with xxx"),
    ],
)
async def test_a_hop_that_says_something_else_is_a_problem(greeting: bytes, said: str) -> None:
    found = await hop_finding(greeting)
    assert found.grade is Grade.PROBLEM
    assert found.text.startswith(said)


async def test_a_hop_that_is_silent_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reaching, "HOP_WITHIN", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        hop = f"smtp://127.0.0.1:{silent.getsockname()[1]}"
        found = (await findings(hop))[f"next hop {hop}"]
    assert found == Finding(Grade.PROBLEM, f"next hop {hop}", "no greeting within 0.05 s")


async def test_a_hop_that_is_not_there_is_a_problem(tmp_path: Path) -> None:
    path = tmp_path / "lmtp"
    found = await findings(f"lmtp+unix://{path}")
    assert found[f"next hop lmtp+unix://{path}"].text == "No such file or directory"


async def test_a_refused_connection_is_told_in_the_systems_words() -> None:
    with socket.socket() as bound:  # and nobody listens
        bound.bind(("127.0.0.1", 0))
        hop = f"smtp://127.0.0.1:{bound.getsockname()[1]}"
        found = (await findings(hop))[f"next hop {hop}"]
    assert (found.grade, found.text) == (Grade.PROBLEM, "Connection refused")


async def test_a_unix_socket_that_greets_is_good(tmp_path: Path) -> None:
    path = tmp_path / "lmtp"

    async def greet(stream: trio.SocketStream) -> None:
        await stream.send_all(b"220 lmtp\r\n")

    listening = trio.socket.socket(socket.AF_UNIX)
    await listening.bind(str(path))
    listening.listen()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, greet, [trio.SocketListener(listening)])
        found = await findings(f"lmtp+unix://{path}")
        nursery.cancel_scope.cancel()
    assert found[f"next hop lmtp+unix://{path}"].grade is Grade.GOOD


async def test_a_maildir_must_be_writable_where_its_name_is_fixed(tmp_path: Path) -> None:
    hop = f"maildir://{tmp_path}/new/{{domain}}/{{local_part}}"
    found = (await findings(hop))[f"next hop {hop}"]
    assert (found.grade, found.text) == (Grade.GOOD, f"{tmp_path}/new will be created")
    (tmp_path / "new").touch()
    found = (await findings(hop))[f"next hop {hop}"]
    assert found.grade is Grade.PROBLEM


@pytest.mark.parametrize(
    ("hop", "grade"),
    [("maildir:///tmp/x", Grade.WARNING), ("mx", Grade.PROBLEM), ("mx:a.test", Grade.PROBLEM)],
)
async def test_dead_dns_is_a_problem_only_where_it_is_needed(hop: str, grade: Grade) -> None:
    """Port 9 of loopback answers nobody."""
    assert (await findings(hop))["dns"].grade is grade
