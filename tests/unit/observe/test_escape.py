"""Nothing from outside forges a line, commands a terminal or turns the writing round."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgerelay.observe.escape import escape

CASES = [
    ("plain text, Grüße, 日本", "plain text, Grüße, 日本"),
    ("two\r\nlines", r"two\r\nlines"),
    ("\x1b[31mred\x9b0m", r"\x1b[31mred\x9b0m"),
    ("del\x7f nul\x00 tab\t", r"del\x7f nul\x00 tab\t"),
    ("line\u2028separator", r"line\u2028separator"),
    ("\u202eright to left", r"\u202eright to left"),
    ("zero\u200bwidth\ufeff", r"zero\u200bwidth\ufeff"),
    ("lone \udc80", r"lone \udc80"),
]


@pytest.mark.parametrize(("outside", "harmless"), CASES)
def test_harmful_characters_are_spelt_out(outside: str, harmless: str) -> None:
    assert escape(outside) == harmless


def test_a_cut_is_marked() -> None:
    assert escape("abcdef", 3) == "abc..."
    assert escape("abc", 3) == "abc"


@given(st.text())
def test_what_is_left_is_one_printable_line(text: str) -> None:
    harmless = escape(text)
    assert len(harmless.splitlines()) <= 1
    harmless.encode()
    assert escape(harmless) == harmless
