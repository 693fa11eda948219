"""From tables to policies: what is installed, what an option may be, what is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from ipaddress import ip_network
from typing import Any, Literal

import pytest

from edgerelay.pipeline import loading
from edgerelay.pipeline.loading import (
    LoadError,
    OptionProblem,
    installed,
    option_names,
    policy_class,
    problems,
    read_options,
)
from edgerelay.pipeline.settings import Mode, PolicySettings
from edgerelay.policy import (
    CONTINUE,
    Duration,
    Evidence,
    Fraction,
    Network,
    Policy,
    Size,
    Verdict,
)


class Fact(Evidence):
    pass


@dataclass(frozen=True, slots=True)
class Options:
    who: str
    delay: Duration = 300.0
    size: Size = 1024
    networks: tuple[Network, ...] = ()
    share: Fraction = 0.5
    on_fail: Literal["tag", "reject"] = "tag"
    strict: bool = False


class Sample(Policy[Options]):
    options_type = Options
    needs = (Fact,)

    async def on_mail(self, *_: object) -> Verdict:
        return CONTINUE


class Giver(Policy[Any]):
    provides = (Fact,)

    async def on_mail(self, *_: object) -> Verdict:
        return CONTINUE


@dataclass(frozen=True, slots=True)
class Clashing:
    mode: str = ""


class Clash(Policy[Clashing]):
    options_type = Clashing


@pytest.fixture(autouse=True)
def some_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside the bundled ones: these, one that raises when imported, and one that is none."""
    here = "tests.unit.pipeline.test_loading"
    extra = {
        name: EntryPoint(name, value, loading.GROUP)
        for name, value in {
            "sample": f"{here}:Sample",
            "giver": f"{here}:Giver",
            "clash": f"{here}:Clash",
            "broken": "no_such_module_anywhere:Policy",
            "none": f"{here}:Options",
        }.items()
    }
    found = {**installed(), **extra}

    def all_of_them() -> Mapping[str, EntryPoint]:
        return found

    monkeypatch.setattr(loading, "installed", all_of_them)


def settings(use: str, mode: Mode = Mode.ENFORCE, **options: object) -> PolicySettings:
    return PolicySettings(use, use, mode, options=options)


def test_the_bundled_ones_are_installed() -> None:
    assert {"access", "dkim", "greylisting", "spf"} <= set(installed())


def test_options_are_read_as_the_file_writes_them() -> None:
    written = {
        "who": "me",
        "delay": "5m",
        "size": "2KiB",
        "networks": ["192.0.2.0/24"],
        "share": 1,
        "on_fail": "reject",
        "strict": True,
    }
    read = read_options(Sample, written)
    assert read == Options("me", 300.0, 2048, (ip_network("192.0.2.0/24"),), 1.0, "reject", True)
    assert type(read) is Options
    assert read_options(Sample, {"who": "me"}) == Options("me")
    assert option_names(Sample)[:2] == ["who", "delay"]


@pytest.mark.parametrize(
    ("options", "key", "text"),
    [
        ({}, ("who",), "is required"),
        ({"who": 7}, ("who",), "expected text in quotes"),
        ({"who": "x", "delay": "5"}, ("delay",), 'expected a duration such as "90s"'),
        ({"who": "x", "delay": 300}, ("delay",), 'expected a duration such as "90s"'),
        ({"who": "x", "size": "many"}, ("size",), "expected a size"),
        ({"who": "x", "networks": ["192.0.2.1/24"]}, ("networks", 0), "has bits set"),
        ({"who": "x", "networks": "192.0.2.0/24"}, ("networks",), "expected a list"),
        ({"who": "x", "share": 2}, ("share",), "expected a number from 0 to 1"),
        ({"who": "x", "on_fail": "drop"}, ("on_fail",), 'allowed: "tag", "reject"'),
        ({"who": "x", "strict": "yes"}, ("strict",), "expected true or false"),
        ({"who": "x", "dealy": "5m"}, ("dealy",), 'unknown key; did you mean "delay"?'),
        ({"who": "x", "tmeout": "5m"}, ("tmeout",), 'unknown key; did you mean "timeout"?'),
    ],
)
def test_a_wrong_option_is_told(
    options: dict[str, Any], key: tuple[str | int, ...], text: str
) -> None:
    found = problems([settings("giver"), settings("sample", **options)])
    assert [(each.index, each.key) for each in found] == [(1, key)]
    assert text in found[0].text


def test_what_is_not_installed_is_told_with_the_nearest_that_is() -> None:
    (problem,) = problems([settings("greylistin")])
    assert problem == OptionProblem(
        0, ("use",), 'no policy of that name is installed; did you mean "greylisting"?'
    )


@pytest.mark.parametrize(
    ("use", "text"),
    [
        ("broken", "cannot be loaded: ModuleNotFoundError"),
        ("none", "is no edgerelay.policy.Policy"),
        ("clash", "has an option called mode"),
    ],
)
def test_one_that_is_broken_is_told_only_when_it_is_used(use: str, text: str) -> None:
    assert problems([settings("giver")]) == []
    (problem,) = problems([settings(use)])
    assert text in problem.text
    with pytest.raises(LoadError):
        policy_class(use)


def test_what_cannot_work_together_is_told_of_the_table_that_asks() -> None:
    (problem,) = problems([settings("giver", Mode.OFF), settings("sample", who="x")])
    assert (problem.index, problem.key) == (1, ())
    assert problem.text == "sample needs Fact: giver would give it, but is off"
    assert problems([settings("giver"), settings("sample", who="x")]) == []
