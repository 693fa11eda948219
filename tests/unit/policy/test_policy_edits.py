"""A field that could not be a field cannot be asked for (RFC 5322 section 2.2)."""

from __future__ import annotations

import pytest

from edgerelay.policy import Prepend


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("", "x"),
        ("X Y", "x"),
        ("X:", "x"),
        ("X\r\nBcc", "x"),
        ("Ü", "x"),
        ("X", "a\r\nBcc: all"),
        ("X", "a\nb"),
        ("X", "caf\u00e9"),
        ("X", "a\x00b"),
        ("X", "y" * 1000),
    ],
)
def test_what_is_no_field_is_refused(name: str, value: str) -> None:
    with pytest.raises(ValueError, match=r"name of a header field|printable|too long"):
        Prepend(name, value)


def test_what_is_one_is_kept() -> None:
    assert Prepend("X-Spam", "yes, it is " * 200).name == "X-Spam"
