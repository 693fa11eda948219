"""What came from outside is shown, never obeyed."""

from __future__ import annotations

import pytest

from edgerelay.smtp.excerpt import excerpt, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("MAIL FROM:<a@b>", "MAIL FROM:<a@b>"),
        ("a\r\nb\x00", "a\\r\\nb\\x00"),
        ("\x1b[31m", "\\x1b[31m"),
        ("\u2028", "\\u2028"),
        ("\x85", "\\x85"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("jörg", "jörg"),
    ],
)
def test_controls_are_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_an_excerpt_is_short() -> None:
    assert excerpt(b"x" * 100) == "x" * 100
    assert excerpt(b"x" * 101) == "x" * 99 + "…"
    assert len(excerpt(b"\x00" * 5000)) == 100


def test_an_excerpt_need_not_be_utf8() -> None:
    assert excerpt(b"\xff\xfe A") == "\\xff\\xfe A"
