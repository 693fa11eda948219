"""A reader learns what changed while it read."""

from __future__ import annotations

from edgerelay.relay.claims import Claims


def test_a_claim_holds_until_it_is_released() -> None:
    claims = Claims()
    claims.add(1)
    assert 1 in claims
    claims.release([1])
    assert 1 not in claims


def test_readers_learn_only_what_changed_while_they_read() -> None:
    claims = Claims()
    claims.changed(1)
    with claims.reading() as first:
        claims.changed(2)
        with claims.reading() as second:
            claims.add(3)
            claims.release([3])
        claims.changed(4)
    claims.changed(5)
    assert first == {2, 3, 4}
    assert second == {3}
