"""What can work together, and how long a stage may take. (Refusals: test_asking.py.)"""

from __future__ import annotations

from typing import Any, cast

import pytest

from edgerelay.pipeline.plan import Configured, Plan, PlanError, stages_of
from edgerelay.pipeline.settings import Mode
from edgerelay.policy import CONTINUE, Evidence, Policy, Stage, Verdict


class Fact(Evidence):
    pass


async def hook(*_: object) -> Verdict:
    return CONTINUE


def kind(**body: Any) -> type[Policy[Any]]:
    return cast("type[Policy[Any]]", type("P", (Policy,), body))


def configured(name: str, of: type[Policy[Any]], **more: Any) -> Configured:
    return Configured(name, of, None, **more)


def test_a_policy_has_the_stages_it_overrides() -> None:
    assert stages_of(kind(on_connect=hook, on_message=hook)) == [Stage.CONNECT, Stage.MESSAGE]
    assert stages_of(Policy) == []


def test_those_who_are_off_are_nowhere() -> None:
    plan = Plan([configured("a", kind(on_mail=hook), mode=Mode.OFF)])
    assert plan.is_empty


def test_a_stage_takes_as_long_as_its_slowest_and_effects_come_after() -> None:
    plan = Plan(
        [
            configured("a", kind(on_mail=hook, on_message=hook), timeout=5),
            configured("b", kind(on_mail=hook), timeout=20),
            configured("c", kind(on_mail=hook, has_effects=True), timeout=3),
            configured("o", kind(on_mail=hook), timeout=99, mode=Mode.OBSERVE),
        ]
    )
    assert plan.worst_case(Stage.MAIL, 100) == 23
    assert plan.worst_case(Stage.MESSAGE, 2) == 2
    assert plan.worst_case(Stage.CONNECT, 100) == 0


def test_what_is_only_wanted_may_be_missing_but_not_come_too_late() -> None:
    wants = kind(on_mail=hook, wants=(Fact,))
    Plan([configured("w", wants)])
    Plan([configured("w", wants), configured("p", kind(on_mail=hook, provides=(Fact,)))])
    with pytest.raises(PlanError, match="known only at MESSAGE") as caught:
        Plan([configured("w", wants), configured("p", kind(on_message=hook, provides=(Fact,)))])
    assert caught.value.policy == "w"


def test_who_wants_what_waits_for_him_is_refused() -> None:
    effects = kind(on_mail=hook, provides=(Fact,), has_effects=True)
    with pytest.raises(PlanError, match="each waits for the next"):
        Plan([configured("w", kind(on_mail=hook, wants=(Fact,))), configured("p", effects)])
