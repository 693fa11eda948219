"""Encryption by rule, and what is fallen back to, and what never."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import MockClock

from edgerelay.observe.events import Delivery, LaneDown
from edgerelay.relay.connection import source_for
from edgerelay.relay.settings import HopKind, HopTls
from edgerelay.relay.tls import ClientContexts, client_contexts
from edgerelay.testing.certificates import tls_contexts
from edgerelay.testing.scripted_peer import ScriptedPeer
from tests.unit.relay.conftest import World, hop

if TYPE_CHECKING:
    from tests.unit.relay.conftest import MakeWorld

NAMED = "10.0.0.1"


@pytest.fixture(scope="module")
def contexts() -> ClientContexts:
    """The test authority is trusted, as the system's would be."""
    return ClientContexts(client_contexts().any_certificate, tls_contexts(NAMED).client)


def server(hostname: str = NAMED) -> ssl.SSLContext:
    return tls_contexts(hostname).server


def broken() -> ssl.SSLContext:
    """Offers STARTTLS, and has no certificate."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)


async def send_one(world: World, peer: ScriptedPeer) -> None:
    async with world.run_relay():
        await world.submit()
        await trio.sleep(5)


@pytest.mark.parametrize(
    ("rule", "encrypted"),
    [
        (HopTls.OFF, False),
        (HopTls.OPPORTUNISTIC, True),
        (HopTls.REQUIRED, True),
        (HopTls.VERIFY, True),
    ],
)
async def test_starttls_is_used_where_it_is_offered(
    make_world: MakeWorld,
    autojump_clock: MockClock,
    contexts: ClientContexts,
    rule: HopTls,
    encrypted: bool,
) -> None:
    async with make_world(tls=rule, contexts=contexts) as world:
        peer = world.peer(tls=server())
        await send_one(world, peer)
        (event,) = world.seen(Delivery)
        assert bool(event.tls) is encrypted
    assert [message.encrypted for message in peer.messages] == [encrypted]


@pytest.mark.parametrize(
    ("rule", "delivered"),
    [
        (HopTls.OFF, True),
        (HopTls.OPPORTUNISTIC, True),
        (HopTls.REQUIRED, False),
        (HopTls.VERIFY, False),
    ],
)
@pytest.mark.parametrize("how", ["not offered", "refused", "broken"])
async def test_without_encryption_mail_leaves_only_where_the_rule_allows(
    make_world: MakeWorld,
    autojump_clock: MockClock,
    contexts: ClientContexts,
    rule: HopTls,
    delivered: bool,
    how: str,
) -> None:
    async with make_world(tls=rule, contexts=contexts) as world:
        peer = world.peer()
        if how != "not offered":
            peer.tls = broken()
        if how == "refused":
            peer.replies["STARTTLS"] = "454 4.7.0 not now"
        await send_one(world, peer)
        assert bool(world.seen(LaneDown)) is not delivered
    assert len(peer.messages) == delivered


async def test_a_failed_handshake_is_remembered(
    make_world: MakeWorld, autojump_clock: MockClock, contexts: ClientContexts
) -> None:
    async with make_world(contexts=contexts) as world:
        peer = world.peer(tls=broken())
        async with world.run_relay():
            await world.submit()
            await trio.sleep(30)
            assert peer.connections == 2
            await world.submit()
            await trio.sleep(30)
            assert peer.connections == 3
    assert peer.commands.count("STARTTLS") == 1


async def test_verify_wants_the_name(
    make_world: MakeWorld, autojump_clock: MockClock, contexts: ClientContexts
) -> None:
    async with make_world(hop(host="10.0.0.2"), tls=HopTls.VERIFY, contexts=contexts) as world:
        peer = world.peer("10.0.0.2", tls=server())
        await send_one(world, peer)
        assert "TLS" in world.seen(LaneDown)[0].reason
    assert peer.messages == []


async def test_octets_behind_the_220_are_never_forgiven(
    make_world: MakeWorld, autojump_clock: MockClock, contexts: ClientContexts
) -> None:
    async with make_world(contexts=contexts) as world:
        peer = world.peer(tls=server(), replies={"STARTTLS": "220 go\r\n250 injected"})
        await send_one(world, peer)
        assert world.seen(LaneDown)
    assert peer.messages == []


async def test_smtps_encrypts_first(
    make_world: MakeWorld, autojump_clock: MockClock, contexts: ClientContexts
) -> None:
    async with make_world(hop(HopKind.SMTPS), contexts=contexts) as world:
        peer = world.peer(tls=server(), implicit_tls=True)
        await send_one(world, peer)
    assert [message.encrypted for message in peer.messages] == [True]


async def test_smtps_is_never_spoken_in_the_clear(
    make_world: MakeWorld, autojump_clock: MockClock, contexts: ClientContexts
) -> None:
    async with make_world(hop(HopKind.SMTPS), contexts=contexts) as world:
        peer = world.peer()
        await send_one(world, peer)
        assert world.seen(LaneDown)
    assert peer.messages == []
    assert peer.commands == []


@pytest.mark.parametrize(
    ("address", "source"),
    [
        (("192.0.2.9", 25), "192.0.2.1"),
        (("2001:db8::9", 25), "2001:db8::1"),
        (Path("/run/lmtp"), None),
    ],
)
def test_the_source_is_of_the_same_family(
    address: tuple[str, int] | Path, source: str | None
) -> None:
    assert source_for(address, ("2001:db8::1", "192.0.2.1")) == source
    assert source_for(address, ()) is None
