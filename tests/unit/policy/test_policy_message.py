"""A header field as a policy reads it."""

from __future__ import annotations

from edgerelay.policy import HeaderField


def test_its_value_with_and_without_folds() -> None:
    field = HeaderField("subject", b"Subject: a\r\n folded: \xc3\xa9\xff\r\n", 0)
    assert field.value == b" a\r\n folded: \xc3\xa9\xff"
    assert field.unfolded == "a folded: é\\xff"
    assert HeaderField("", b"no colon\r\n", 0).value == b""
    assert HeaderField("x", b"X:\r\n", 0).unfolded == ""
