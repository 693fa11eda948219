"""Edits as octets: in their order, folded, and of the very fields they name."""

from __future__ import annotations

from email import message_from_bytes
from email.policy import default

from hypothesis import given
from hypothesis import strategies as st

from edgerelay.pipeline.edits import Edited, apply, folded
from edgerelay.policy import AddScore, HeaderField, Prepend, Remove, RouteTo

FIELD = HeaderField("subject", b"Subject: x\r\n", 40)
OTHER = HeaderField("to", b"To: y\r\n", 10)


def test_no_edit_changes_nothing() -> None:
    assert apply(()) == Edited(b"", (), None, 0.0, ())


def test_the_last_field_asked_for_is_the_uppermost() -> None:
    edited = apply((Prepend("X-A", "1"), Prepend("X-B", "2")))
    assert edited.prepend == b"X-B: 2\r\nX-A: 1\r\n"
    assert edited.below(b"Top: t\r\n").prepend.startswith(b"Top: t\r\nX-B")


def test_removals_are_sorted_and_each_is_made_once() -> None:
    edited = apply((Remove(FIELD), Remove(FIELD), Remove(OTHER)), [OTHER])
    assert edited.removed == ((10, 7), (40, 12))


def test_scores_add_up_and_the_last_route_counts() -> None:
    edited = apply(
        (
            AddScore(1.5, "odd"),
            RouteTo(("smtp://a:25",)),
            AddScore(-0.5, "known"),
            RouteTo(("smtp://b:25", "smtp://c:25")),
        )
    )
    assert (edited.score, edited.reasons) == (1.0, ("odd", "known"))
    assert edited.next_hops == ("smtp://b:25", "smtp://c:25")


def test_a_long_value_is_folded_at_its_spaces() -> None:
    octets = folded("X-Long", ("word " * 40).split(" "))
    assert all(len(line) <= 78 for line in octets.split(b"\r\n"))
    assert octets.endswith(b"\r\n")
    assert octets.count(b"word") == 40


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=400))
def test_whatever_is_asked_for_is_one_field_that_reads_the_same(value: str) -> None:
    octets = apply((Prepend("X-Any", value),)).prepend
    assert octets.endswith(b"\r\n")
    lines = octets[:-2].split(b"\r\n")
    assert all(line.startswith(b" ") and line.strip() for line in lines[1:])
    message = message_from_bytes(octets + b"\r\nbody", policy=default)
    assert list(message.keys()) == ["X-Any"]
    assert octets.replace(b"\r\n", b"") == f"X-Any: {value}".encode()
