"""How next hops and domains are written."""

from __future__ import annotations

import pytest

from edgerelay.config import names


@pytest.mark.parametrize("written", ["10.0.0.5", "relay.example", "[2001:db8::1]", "a_b.example"])
def test_hosts_of_next_hops_need_no_port(written: str) -> None:
    assert names.next_hop(f"smtp://{written}").port == 25


@pytest.mark.parametrize("written", ["::1", "[10.0.0.5]", "[x]", "h:port", "h:1:2", "a b", "h/p"])
def test_no_hosts(written: str) -> None:
    with pytest.raises(ValueError, match=r"expected|is no"):
        names.next_hop(f"smtp://{written}")
