"""Hops stand where a configuration and the DNS say, and can be unplugged."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from edgerelay.net.reaper import Reaper
from edgerelay.net.transport import ConnectionLost
from edgerelay.relay.settings import HopKind, NextHop, RelaySettings, RouteSettings
from edgerelay.testing.hops import Hop, attach, hops_of
from edgerelay.testing.literal_dns import Fault, Zone
from edgerelay.testing.scripted_peer import ScriptedNetwork

ZONE: Zone = {
    ("mx.example.net", "A"): ["192.0.2.25", "192.0.2.26"],
    ("mx.example.net", "AAAA"): ["2001:db8::25"],
    ("dead.example.net", "A"): Fault.SERVFAIL,
}


def settings(*hops: NextHop) -> RelaySettings:
    return RelaySettings("mx.example.test", routes=(RouteSettings(("example.com",), hops),))


def test_every_hop_of_a_route_that_has_an_address_is_there() -> None:
    given = Hop()
    hops = hops_of(
        settings(
            NextHop(HopKind.SMTP, "10.0.0.5", 25),
            NextHop(HopKind.LMTP, "2001:db8::5", 24),
            NextHop(HopKind.LMTP_UNIX, path=Path("/run/lmtp")),
            NextHop(HopKind.MX),
            NextHop(HopKind.MAILDIR, path=Path("/mail")),
        ),
        {"10.0.0.5": given, "2001:db8::9": Hop(), "mx.example.net:2525": Hop()},
    )
    assert list(hops) == [
        "10.0.0.5:25",
        "[2001:db8::9]:25",
        "mx.example.net:2525",
        "[2001:db8::5]:24",
        "/run/lmtp",
    ]
    assert hops["10.0.0.5:25"] is given
    assert [key for key, hop in hops.items() if hop.lmtp] == ["[2001:db8::5]:24", "/run/lmtp"]


async def test_a_name_is_where_the_zone_says(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        network, hop = ScriptedNetwork(nursery, Reaper()), Hop()
        attach({"MX.example.net:25": hop, "localhost:24": hop}, network, ZONE)
        for host in ("192.0.2.25", "192.0.2.26", "2001:db8::25"):
            await network((host, 25), source=None, timeout=1)
        await network(("127.0.0.1", 24), source=None, timeout=1)
        await trio.testing.wait_all_tasks_blocked()
        assert hop.connections == 4
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("host", ["dead.example.net", "nowhere.example"])
async def test_a_name_without_address_is_an_error(host: str, autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        with pytest.raises(ValueError, match=host):
            attach({f"{host}:25": Hop()}, ScriptedNetwork(nursery, Reaper()), ZONE)


async def test_down_and_up(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        network, hop = ScriptedNetwork(nursery, Reaper()), Hop()
        hop.down()
        attach({"10.0.0.5:25": hop}, network, {})
        with pytest.raises(ConnectionLost):
            await network(("10.0.0.5", 25), source=None, timeout=1)
        hop.up()
        hop.up()
        client = await network(("10.0.0.5", 25), source=None, timeout=1)
        assert (await client.receive()).startswith(b"220")
        hop.down()
        hop.down()
        with pytest.raises(ConnectionLost):
            await client.receive()
