"""Both ends of a connection have one way to be written."""

from __future__ import annotations

import socket

import pytest

from edgerelay.net.endpoint import canonical, endpoint_text


@pytest.mark.parametrize(
    ("family", "address", "text"),
    [
        (socket.AF_INET, ("192.0.2.1", 25), "192.0.2.1:25"),
        (socket.AF_INET6, ("2001:db8::1", 25, 0, 0), "[2001:db8::1]:25"),
        (socket.AF_INET6, ("::ffff:192.0.2.1", 25, 0, 0), "192.0.2.1:25"),
        (socket.AF_UNIX, "/run/x.sock", "unix:/run/x.sock"),
        (socket.AF_UNIX, b"\0abstract", "unix:\0abstract"),
    ],
)
def test_an_endpoint_is_written(family: int, address: object, text: str) -> None:
    assert endpoint_text(family, address) == text


def test_a_mapped_address_is_the_ipv4_one() -> None:
    assert canonical("::ffff:192.0.2.1") == canonical("192.0.2.1")
    with pytest.raises(ValueError, match="not-an-address"):
        canonical("not-an-address")
