"""``[[policy]]`` tables: what they become, and how what is wrong with them is told."""

from __future__ import annotations

import pytest

from edgerelay.config import ConfigError, parse
from edgerelay.pipeline.settings import Mode, OnError, PolicySettings

ROUTE = '[[route]]\ndomains = ["example.com"]\nnext_hop = ["mx"]\n'

pytestmark = pytest.mark.usefixtures("kitchen")


def good(tables: str) -> tuple[PolicySettings, ...]:
    return parse(f"{ROUTE}{tables}".encode(), "e.toml").policies


def problems(tables: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse(f"{ROUTE}{tables}".encode(), "e.toml")
    return caught.value.problems


def test_a_table_has_common_keys_and_the_policys_own() -> None:
    assert good(
        """
[[policy]]
use = "painter"
mode = "observe"
timeout = "500ms"
on_error = "continue"
enforce_share = 0.25
colour = "blue"
"""
    ) == (
        PolicySettings(
            use="painter",
            name="painter",
            mode=Mode.OBSERVE,
            timeout=0.5,
            on_error=OnError.CONTINUE,
            enforce_share=0.25,
            options={"colour": "blue"},
        ),
    )


def test_defaults_are_those_of_the_settings() -> None:
    assert good('[[policy]]\nuse = "painter"') == (PolicySettings("painter", "painter"),)


def test_a_second_table_of_a_policy_has_a_name_of_its_own() -> None:
    tables = '[[policy]]\nuse = "keeper"\n' * 3
    assert [each.name for each in good(tables)] == ["keeper", "keeper-2", "keeper-3"]


def test_everything_is_told_at_once_on_its_line() -> None:
    assert problems(
        """[limits]
message_sise = 1
[[policy]]
use = "paintr"
[[policy]]
use = "painter"
colour = "green"
coats = "two"
timout = "1s"
mode = "obsrve"
isolation = "task"
[[policy]]
timeout = 3
on_error = "panic"
enforce_share = 2
"""
    ) == [
        'e.toml:5: limits.message_sise: unknown key; did you mean "message_size"?',
        'e.toml:7: policy[1].use: no policy of that name is installed; did you mean "painter"?',
        'e.toml:10: policy[2].colour: allowed: "red", "blue"',
        "e.toml:11: policy[2].coats: expected a whole number",
        'e.toml:12: policy[2].timout: unknown key; did you mean "timeout"?',
        'e.toml:13: policy[2].mode: allowed: "enforce", "observe", "off"',
        'e.toml:14: policy[2].isolation: unknown key; the nearest known one is "coats"',
        "e.toml:15: policy[3].use: is required",
        'e.toml:16: policy[3].timeout: expected a duration such as "90s" (units: ms, s, m, h, d)',
        'e.toml:17: policy[3].on_error: allowed: "defer", "continue"',
        "e.toml:18: policy[3].enforce_share: expected a number from 0 to 1",
    ]


GRAPHS = [
    (
        '[[policy]]\nuse = "egg"\n[[policy]]\nuse = "hen"',
        "e.toml:4: policy[1]: each waits for the next: egg > hen > egg",
    ),
    (
        '[[policy]]\nuse = "gourmet"',
        "e.toml:4: policy[1]: gourmet needs Colour: no policy gives it",
    ),
    (
        '[[policy]]\nuse = "painter"\nmode = "off"\n[[policy]]\nuse = "gourmet"',
        "e.toml:7: policy[2]: gourmet needs Colour: painter would give it, but is off",
    ),
    (
        '[[policy]]\nuse = "late"\n[[policy]]\nuse = "gourmet"',
        "e.toml:6: policy[2]: gourmet needs Colour, which is known only at MESSAGE",
    ),
    (
        '[[policy]]\nuse = "painter"\n[[policy]]\nuse = "painter"',
        "e.toml:6: policy[2]: painter and painter-2 both give Colour",
    ),
]


@pytest.mark.parametrize(("tables", "said"), GRAPHS, ids=["cycle", "none", "off", "later", "two"])
def test_policies_that_cannot_work_together_are_refused(tables: str, said: str) -> None:
    assert problems(tables) == [said]


def test_a_policy_that_is_off_is_still_checked() -> None:
    assert problems('[[policy]]\nuse = "painter"\nmode = "off"\ncolor = "red"') == [
        'e.toml:7: policy[1].color: unknown key; did you mean "colour"?'
    ]


def test_a_policy_that_cannot_be_imported_is_told_with_its_place() -> None:
    (problem,) = problems('[[policy]]\nuse = "broken"')
    assert problem.startswith('e.toml:5: policy[1].use: "broken" (kitchen_policies:Missing)')


@pytest.mark.parametrize("tables", ["policy = 3", 'policy = ["painter"]'])
def test_what_is_no_table_is_told_once(tables: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(f"{tables}\n{ROUTE}".encode(), "e.toml")
    (problem,) = caught.value.problems
    assert problem.endswith("expected a table: [[policy]]")
