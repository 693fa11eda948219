"""How values are written."""

from __future__ import annotations

import pytest

from edgerelay import units


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("90s", 90.0), ("0.5s", 0.5), ("5d", 432000.0), ("20ms", 0.02), ("1.5h", 5400.0)],
)
def test_durations(written: str, seconds: float) -> None:
    assert units.duration(written) == seconds


@pytest.mark.parametrize("written", ["", "5", "s", "5 y", "1e3s", "５s", "5s\n5s", "--5s", ".5s"])
def test_no_durations(written: str) -> None:
    with pytest.raises(ValueError, match="expected a duration"):
        units.duration(written)


@pytest.mark.parametrize(
    ("written", "octets"),
    [
        (0, 0),
        (7, 7),
        ("7B", 7),
        ("1KB", 1000),
        ("1KiB", 1024),
        ("0.5MiB", 524288),
        ("2GB", 2 * 10**9),
    ],
)
def test_sizes(written: object, octets: int) -> None:
    assert units.size(written) == octets


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("::ffff:192.0.2.0/120", "192.0.2.0/24"),
        ("::ffff:192.0.2.1", "192.0.2.1/32"),
        ("::ffff:0:0/96", "0.0.0.0/0"),
        ("::/0", "::/0"),
        ("2001:db8::/32", "2001:db8::/32"),
    ],
)
def test_a_network_of_mapped_addresses_is_the_ipv4_network_its_clients_are_in(
    written: str, meant: str
) -> None:
    assert str(units.network(written)) == meant


def test_a_listener_has_an_address_or_a_socket_that_is_passed() -> None:
    assert units.listener_address("[::]:25") == ("::", 25)
    assert units.listener_address("fd:smtp") == ("fd:smtp", 0)
    for wrong in ("fd:", "fd:a b", "fd:a:b", "fd:ä"):
        with pytest.raises(ValueError, match="FileDescriptorName="):
            units.listener_address(wrong)
    with pytest.raises(ValueError, match="an address and a port"):
        units.listener_address("smtp")
