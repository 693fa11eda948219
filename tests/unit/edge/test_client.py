"""Whose connection it is, and what its network allows it."""

from __future__ import annotations

from ipaddress import ip_network

from edgerelay.edge.client import Client
from edgerelay.net.endpoint import canonical

NETWORKS = (ip_network("10.0.0.0/8"), ip_network("2001:db8::/32"))


def test_a_peer_is_read_from_its_transport() -> None:
    assert str(Client.from_peer("192.0.2.1:25").address) == "192.0.2.1"
    assert str(Client.from_peer("[2001:db8::1]:25").address) == "2001:db8::1"
    assert Client.from_peer("unix:/run/x").address is None


def test_networks_know_their_own_family() -> None:
    assert Client.from_peer("10.1.2.3:25").is_in(NETWORKS)
    assert Client.from_peer("[2001:db8::1]:25").is_in(NETWORKS)
    assert not Client.from_peer("192.0.2.1:25").is_in(NETWORKS)
    assert not Client.from_peer("unix:/run/x").is_in(NETWORKS)


def test_a_proxy_that_names_nobody_is_not_limited() -> None:
    proxy = Client.from_peer("10.0.0.1:4000")
    assert proxy.prefixes == ("10.0.0.1/32", "10.0.0.0/24")
    assert proxy.unnamed().prefixes is None
    assert proxy.unnamed().endpoint == "10.0.0.1:4000"
    assert Client.behind_proxy(canonical("2001:db8::5"), 9).endpoint == "[2001:db8::5]:9"


def test_a_zone_is_ours_and_stays_here() -> None:
    client = Client.from_peer("[fe80::1%eth0]:4711")
    assert client.host.text == "fe80::1"
    assert client.endpoint == "[fe80::1%eth0]:4711"
