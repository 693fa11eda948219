"""Events are values: equal by what they hold, and not to be changed."""

from __future__ import annotations

import dataclasses

import pytest

from edgerelay.smtp import events
from edgerelay.smtp.events import DataProblem, Event


@pytest.mark.parametrize("kind", Event.__args__, ids=lambda kind: kind.__name__)
def test_an_event_is_a_frozen_slotted_value(kind: type) -> None:
    assert dataclasses.is_dataclass(kind)
    assert "__slots__" in vars(kind)
    assert kind.__hash__ is not object.__hash__


def test_every_event_of_the_module_is_in_the_union() -> None:
    found = {
        value
        for value in vars(events).values()
        if isinstance(value, type) and dataclasses.is_dataclass(value)
        if value.__module__ == events.__name__
    }
    assert found == set(Event.__args__)


def test_the_gravest_problem_is_named_first() -> None:
    assert [problem.name for problem in DataProblem] == ["BARE_NEWLINE", "TOO_BIG", "LONG_LINE"]
