"""The scripted peer does what its table says, in memory and on a socket."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import trio
from trio.testing import MockClock

from edgerelay.net.reaper import Reaper
from edgerelay.net.socket_transport import dial
from edgerelay.net.transport import ConnectionLost, Transport
from edgerelay.testing.scripted_peer import (
    DROP,
    Actions,
    Drop,
    Late,
    Raw,
    ScriptedNetwork,
    ScriptedPeer,
    serve_tcp,
)

WHERE = ("192.0.2.1", 25)


async def ask(transport: Transport, *lines: str) -> str:
    """Send lines one by one; return the last answer, or "" at the end of the stream."""
    answer = b""
    for line in lines:
        await transport.send(line.encode() + b"\r\n")
        answer = await transport.receive()
    return answer.decode().rstrip()


async def converse(replies: Mapping[str, Actions], *lines: str, lmtp: bool = False) -> str:
    async with trio.open_nursery() as nursery:
        network = ScriptedNetwork(nursery, Reaper())
        network.listen(WHERE, ScriptedPeer(dict(replies), lmtp=lmtp))
        transport = await network(WHERE, source=None, timeout=1)
        greeting = (await transport.receive()).decode().rstrip()
        said = await ask(transport, *lines) if lines else greeting
        nursery.cancel_scope.cancel()
    return said


ENVELOPE = ("EHLO me", "MAIL FROM:<a@example.org>", "RCPT TO:<b@example.org>")


@pytest.mark.parametrize(
    ("replies", "lines", "said"),
    [
        ({}, (), "220 peer.example ready"),
        ({"greeting": "421 no"}, (), "421 no"),
        ({}, ENVELOPE, "250 2.1.5 recipient fine"),
        ({"RCPT b@example.org": "550 no"}, ENVELOPE, "550 no"),
        ({"RCPT c@example.org": "550 no"}, ENVELOPE, "250 2.1.5 recipient fine"),
        ({"RCPT": ["450 later", "250 now"]}, (*ENVELOPE, "RCPT TO:<d@x.org>"), "250 now"),
        ({"MAIL": DROP}, ENVELOPE[:2], ""),
        ({"MAIL": Drop("421 bye")}, ENVELOPE[:2], "421 bye"),
        ({"MAIL": Late(60, "250 at last")}, ENVELOPE[:2], "250 at last"),
        ({"MAIL": Raw(b"25")}, ENVELOPE[:2], "25"),
        ({}, ("RCPT TO:<b@example.org>",), "503 5.5.1 MAIL first"),
        ({}, (*ENVELOPE, "MAIL FROM:<c@example.org>"), "503 5.5.1 nested MAIL"),
        ({}, (*ENVELOPE, "DATA", "..dot\r\n."), "250 2.0.0 taken"),
        ({}, ("BANANA",), "500 5.5.1 what?"),
    ],
)
async def test_conversations(
    autojump_clock: MockClock, replies: Mapping[str, Actions], lines: tuple[str, ...], said: str
) -> None:
    assert await converse(replies, *lines) == said


async def test_lmtp_answers_for_each(autojump_clock: MockClock) -> None:
    said = await converse(
        {"dot c@example.org": "552 full"},
        *ENVELOPE,
        "RCPT TO:<c@example.org>",
        "DATA",
        "text\r\n.",
        "NOOP",
        lmtp=True,
    )
    assert "552 full" in said or said == "250 2.0.0 nothing"


async def test_an_address_may_refuse_or_say_nothing(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        network = ScriptedNetwork(nursery, Reaper())
        with pytest.raises(ConnectionLost, match="refused"):
            await network(WHERE, source=None, timeout=30)
        network.blackholes.add(WHERE)
        started = trio.current_time()
        with pytest.raises(ConnectionLost, match="within 30 s"):
            await network(WHERE, source=None, timeout=30)
        assert trio.current_time() - started == 30


async def test_it_listens_on_real_sockets() -> None:
    peer, reaper = ScriptedPeer(), Reaper()
    async with trio.open_nursery() as nursery:
        address = await nursery.start(serve_tcp, peer, reaper)
        transport = await dial(address, reaper, source=None, timeout=5)
        assert await transport.receive() == b"220 peer.example ready\r\n"
        assert await ask(transport, *ENVELOPE, "DATA", ".leading\r\n.") == "250 2.0.0 taken"
        transport.abort()
        nursery.cancel_scope.cancel()
    assert peer.contents == [b".leading\r\n"]
