"""How a place in the file is written."""

from __future__ import annotations

from edgerelay.config.errors import key_text


def test_people_count_from_one() -> None:
    assert key_text(("route", 0, "next_hop", 1)) == "route[1].next_hop[2]"
