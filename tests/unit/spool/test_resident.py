"""Fresh content stays in memory until it is settled, or until the budget is spent."""

from __future__ import annotations

from edgerelay.spool.resident import ResidentContents


def test_content_stays_until_every_delivery_is_settled() -> None:
    resident = ResidentContents(10_000)
    resident.add(1, b"x" * 100, 2)
    resident.settled(1)
    assert resident.get(1) == b"x" * 100
    resident.settled(1)
    assert resident.get(1) is None
    resident.settled(1)
    assert resident.octets == 0


def test_past_the_budget_the_oldest_goes() -> None:
    resident = ResidentContents(3000)
    for number in range(5):
        resident.add(number, b"x" * 500, 1)
    assert [resident.get(number) is not None for number in range(5)] == [False] * 3 + [True] * 2
    assert resident.octets <= 3000


def test_what_is_larger_than_the_budget_never_stays() -> None:
    resident = ResidentContents(100)
    resident.add(1, b"x" * 500, 3)
    assert resident.get(1) is None
    assert resident.octets == 0
