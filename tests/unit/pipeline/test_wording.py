"""Problems are told in an administrator's words."""

from __future__ import annotations

from edgerelay.pipeline.wording import nearest, problem_text


def test_what_was_expected_is_said() -> None:
    assert problem_text("string_type", "Input should be…", {}) == "expected text in quotes"
    expected = {"expected": "'a', 'b' or 'c'"}
    assert problem_text("literal_error", "", expected) == 'allowed: "a", "b", "c"'
    assert problem_text("greater_than_equal", "", {"ge": 3}) == "expected a number of at least 3"
    assert problem_text("less_than_equal", "", {"le": 3}) == "expected a number of at most 3"
    assert problem_text("too_short", "", {}) == "expected at least one entry"
    assert problem_text("value", "a text of ours", {}) == "a text of ours"


def test_the_nearest_known_word_is_named() -> None:
    assert nearest("dealy", ["delay", "mode"]) == '; did you mean "delay"?'
    assert nearest("zzz", ["delay"]) == '; the nearest known one is "delay"'
    assert nearest("zzz", []) == ""
