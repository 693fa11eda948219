"""Of several pairs the right ones are shown for a name."""

from __future__ import annotations

import pytest
import trustme

from edgerelay.net.key_pairs import KeyPair, grouped
from tests.unit.net.pairs import RSA, pair


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def test_a_pair_alone_is_for_everybody_and_is_not_even_read() -> None:
    only = KeyPair(b"not read", b"")
    assert grouped((only,)) == {"": (only,)}


def test_pairs_of_two_key_types_for_the_same_names_go_together(authority: trustme.CA) -> None:
    rsa = pair(authority, "a.example", key_type=RSA)
    ecdsa, other = pair(authority, "a.example"), pair(authority, "*.b.example")
    assert grouped((rsa, ecdsa, other)) == {
        "": (rsa, ecdsa),
        "a.example": (rsa, ecdsa),
        "*.b.example": (other,),
    }


def test_the_first_of_two_for_one_name_is_shown(authority: trustme.CA) -> None:
    first, second = pair(authority, "a.example"), pair(authority, "a.example", "c.example")
    found = grouped((first, second))
    assert found["a.example"] == (first,)
    assert found["c.example"] == (second,)


def test_of_one_key_type_the_first_pair_with_a_name_is_shown(authority: trustme.CA) -> None:
    first = pair(authority, "mx.example.com", "mx.example.org")
    second = pair(authority, "mx.example.org", "mx.example.net")
    groups = grouped((first, second))
    assert groups == {
        "": (first,),
        "mx.example.com": (first,),
        "mx.example.org": (first,),
        "mx.example.net": (second,),
    }


def test_what_cannot_be_read_is_an_error(authority: trustme.CA) -> None:
    with pytest.raises(ValueError, match="certificate"):
        grouped((pair(authority, "a.example"), KeyPair(b"no", b"no")))
