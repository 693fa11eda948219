"""The ``[[policy]]`` tables: as plain values, and everything that is wrong with them.

What a table says wrongly in the keys that all policies share is `edgerelay.config.model`'s to
tell; it is passed over here, so that the rest of the table can be looked at all the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from pydantic import ValidationError

from edgerelay.config.errors import Problem
from edgerelay.config.model import Policy
from edgerelay.pipeline.loading import problems
from edgerelay.pipeline.settings import Mode, OnError, PolicySettings

#: Stands for a name that is missing, or is none.
_NAMELESS: Final = "(no name)"


def policy_settings(raw: Mapping[str, Any]) -> tuple[PolicySettings, ...]:
    """One for each table of a raw file, in its order: a bad value becomes its default."""
    tables = raw.get("policy")
    settings: list[PolicySettings] = []
    for table in tables if isinstance(tables, list) else []:
        read = _read(table if isinstance(table, dict) else {})
        settings.append(
            PolicySettings(
                use=read.use,
                name=_unused(read.use, {each.name for each in settings}),
                mode=Mode(read.mode),
                timeout=read.timeout,
                on_error=OnError(read.on_error),
                enforce_share=read.enforce_share,
                options=read.model_extra or {},
            )
        )
    return tuple(settings)


def policy_problems(settings: Sequence[PolicySettings]) -> Iterator[Problem]:
    """What `edgerelay.pipeline.loading` finds, as places in the file."""
    for problem in problems(settings):
        if settings[problem.index].use != _NAMELESS:
            yield Problem(("policy", problem.index, *problem.key), problem.text)


def _read(table: dict[str, Any]) -> Policy:
    try:
        return Policy.model_validate(table)
    except ValidationError as error:
        bad = {detail["loc"][0] for detail in error.errors(include_url=False)}
        rest = {key: value for key, value in table.items() if key not in bad}
        return Policy.model_validate({"use": _NAMELESS, **rest})


def _unused(use: str, names: set[str]) -> str:
    """``use``, or "access-2" for the second table that uses "access"."""
    name, number = use, 1
    while name in names:
        number += 1
        name = f"{use}-{number}"
    return name
