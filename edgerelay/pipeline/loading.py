"""From ``[[policy]]`` tables to policies: what is installed, what its options are, what is wrong.

A policy is an entry point of the group ``edgerelay.policies``. None is imported before a
configuration names it, so that a broken one breaks nothing else.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import MISSING, dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType
from typing import Any, Final, get_type_hints

import msgspec

from edgerelay.pipeline.plan import Configured, Plan, PlanError
from edgerelay.pipeline.settings import PolicySettings
from edgerelay.pipeline.wording import nearest, problem_text
from edgerelay.policy import Policy

GROUP: Final = "edgerelay.policies"
#: Keys of every ``[[policy]]`` table, which no option may be called.
COMMON_KEYS: Final = ("use", "mode", "timeout", "on_error", "enforce_share")

_at_hand: ContextVar[Mapping[str, type[Policy[Any]]]] = ContextVar(
    "at_hand", default=MappingProxyType({})
)


class LoadError(Exception):
    """The policy cannot be used. The text is for the administrator."""


@dataclass(frozen=True, slots=True)
class OptionProblem:
    index: int  #: of the ``[[policy]]`` table
    key: tuple[str | int, ...]  #: within the table; () is all of it
    text: str


@cache
def installed() -> Mapping[str, EntryPoint]:
    """What is installed, by name; nothing of it has been imported."""
    return {point.name: point for point in sorted(entry_points(group=GROUP))}


@contextmanager
def at_hand(policies: Mapping[str, type[Policy[Any]]]) -> Iterator[None]:
    """While the block lasts, these are found by their names, installed or not: for tests."""
    token = _at_hand.set(policies)
    try:
        yield
    finally:
        _at_hand.reset(token)


def policy_class(use: str) -> type[Policy[Any]]:
    """Import the policy of that name. Raises `LoadError`."""
    if (kind := _at_hand.get().get(use)) is not None:
        return _usable(kind, f'"{use}"')
    point = installed().get(use)
    if point is None:
        raise LoadError(f"no policy of that name is installed{nearest(use, installed())}")
    try:
        kind = point.load()
    except Exception as error:  # anything may be wrong with what somebody else wrote
        reason = f"{type(error).__name__}: {error}"
        raise LoadError(f'"{use}" ({point.value}) cannot be loaded: {reason}') from error
    return _usable(kind, f'"{use}" ({point.value})')


def _usable(kind: object, called: str) -> type[Policy[Any]]:
    if not (isinstance(kind, type) and issubclass(kind, Policy)):
        raise LoadError(f"{called} is no edgerelay.policy.Policy")
    if clash := [field for field in option_names(kind) if field in COMMON_KEYS]:
        raise LoadError(f"{called} has an option called {clash[0]}")
    return kind


def option_names(kind: type[Policy[Any]]) -> list[str]:
    return [field.name for field in dataclasses.fields(kind.options_type)]


def read_options(kind: type[Policy[Any]], written: Mapping[str, object]) -> Any:
    """Make the policy's options of what the file says. Raises pydantic's ValidationError,
    and ValueError if the options' own check refuses the whole."""
    # As JSON, since there a list may become a tuple although nothing else is converted.
    values = _model(kind.options_type).model_validate_json(msgspec.json.encode(written))
    return kind.options_type(**{name: getattr(values, name) for name in option_names(kind)})


def problems(settings: Sequence[PolicySettings]) -> list[OptionProblem]:
    """Everything that is wrong with the tables, each by itself and all of them together."""
    found: list[OptionProblem] = []
    kinds: list[type[Policy[Any]] | None] = []
    for index, each in enumerate(settings):
        try:
            kind = policy_class(each.use)
        except LoadError as error:
            found.append(OptionProblem(index, ("use",), str(error)))
            kinds.append(None)
        else:
            kinds.append(kind)
            found += [
                OptionProblem(index, key, text) for key, text in _wrong_options(kind, each.options)
            ]
    if None not in kinds:
        found += _wrong_graph(settings, [kind for kind in kinds if kind is not None])
    return found


def _wrong_options(
    kind: type[Policy[Any]], written: Mapping[str, object]
) -> Iterator[tuple[tuple[str | int, ...], str]]:
    from pydantic import ValidationError

    try:
        read_options(kind, written)
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            key = detail["loc"]
            if detail["type"] == "extra_forbidden":
                known = [*option_names(kind), *COMMON_KEYS]
                yield key, f"unknown key{nearest(str(key[-1]), known)}"
            else:
                context = detail.get("ctx", {})
                yield key, problem_text(detail["type"], detail["msg"], context)
    except ValueError as error:
        yield (), str(error)


def _wrong_graph(
    settings: Sequence[PolicySettings], kinds: Sequence[type[Policy[Any]]]
) -> Iterator[OptionProblem]:
    try:
        plan_of(settings, kinds)
    except PlanError as error:
        index = next((i for i, each in enumerate(settings) if each.name == error.policy), 0)
        yield OptionProblem(index, (), str(error))


def plan_of(settings: Sequence[PolicySettings], kinds: Sequence[type[Policy[Any]]]) -> Plan:
    """The plan of these tables, to look at. Raises `PlanError`."""
    return Plan(
        [
            Configured(each.name, kind, None, each.mode, each.timeout, each.on_error)
            for each, kind in zip(settings, kinds, strict=True)
        ]
    )


def _model(options_type: type[Any]) -> Any:
    """The pydantic model of an options class; pydantic is loaded only where there are any."""
    from pydantic import ConfigDict, create_model

    hints = get_type_hints(options_type, include_extras=True)
    fields: dict[str, Any] = {}
    for field in dataclasses.fields(options_type):
        default: Any = ...
        if field.default is not MISSING:
            default = field.default
        elif field.default_factory is not MISSING:
            default = field.default_factory()
        fields[field.name] = (hints[field.name], default)
    config = ConfigDict(extra="forbid", strict=True, arbitrary_types_allowed=True)
    return create_model(options_type.__name__, __config__=config, **fields)
