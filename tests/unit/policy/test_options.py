"""How options are written. (How wrong ones are told: tests/unit/pipeline/test_loading.py.)"""

from __future__ import annotations

import pytest

from edgerelay.policy import AddressPattern, Mailbox, Whole


@pytest.mark.parametrize(
    ("pattern", "address", "matches"),
    [
        ("a@b.example", "A@B.example", True),
        ("a@b.example", "x@b.example", False),
        ("@b.example", "x@b.example", True),
        ("b.example", "x@b.example", True),
        ("b.example", "x@c.b.example", False),
        (".b.example", "x@c.b.example", True),
        (".b.example", "x@b.example", False),
        ("a@b@c.example", "a@b@c.example", True),
        ("bücher.example", "x@xn--bcher-kva.example", True),
        ("[192.0.2.1]", "x@[192.0.2.1]", True),
    ],
)
def test_an_address_or_all_of_a_domain(pattern: str, address: str, matches: bool) -> None:
    assert AddressPattern.from_text(pattern).matches(Mailbox.from_text(address)) is matches


@pytest.mark.parametrize("value", [0, 11, True, "5", 5.0, None])
def test_a_whole_number_within_bounds(value: object) -> None:
    whole = Whole(1, 10)
    assert whole.parse(10) == 10
    with pytest.raises(ValueError, match="from 1 to 10"):
        whole.parse(value)
