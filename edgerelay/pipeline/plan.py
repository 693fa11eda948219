"""Who is asked at which stage, checked before the first connection. Knows no clock and no task."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Any, Final, TypeAlias

from edgerelay.pipeline.settings import Mode, OnError
from edgerelay.policy import (
    CONTINUE,
    Defer,
    Evidence,
    MessageVerdict,
    Policy,
    Reply,
    Stage,
    Verdict,
)

Hook: TypeAlias = Callable[..., Coroutine[Any, Any, MessageVerdict]]

FAILED: Final[dict[OnError, Verdict]] = {
    OnError.DEFER: Defer(Reply(451, "4.3.0", "Local error in processing, try again later")),
    OnError.CONTINUE: CONTINUE,
}


class PlanError(Exception):
    """The configured policies cannot work together; ``policy`` is whose table to look at."""

    def __init__(self, policy: str, text: str) -> None:
        super().__init__(text)
        self.policy = policy


@dataclass(frozen=True, slots=True)
class Configured:
    """A policy as it is to be asked. Without an instance the plan can be checked, not asked."""

    name: str
    kind: type[Policy[Any]]
    policy: Policy[Any] | None
    mode: Mode = Mode.ENFORCE
    timeout: float = 20.0  #: seconds
    on_error: OnError = OnError.DEFER


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """One policy at one stage."""

    stage: Stage
    place: int  #: among the entries of the stage, in the order of configuration
    name: str
    hook: Hook
    observed: bool
    timeout: float
    failed: Verdict
    has_effects: bool
    needs: tuple[type[Evidence], ...]
    wants: tuple[type[Evidence], ...]
    provides: tuple[type[Evidence], ...]  #: at this stage


class Plan:
    """The configured policies by stage; raises PlanError if one could wait for ever."""

    def __init__(self, policies: Sequence[Configured]) -> None:
        on = [configured for configured in policies if configured.mode is not Mode.OFF]
        off = [configured for configured in policies if configured.mode is Mode.OFF]
        stages: dict[Stage, list[Entry]] = {stage: [] for stage in Stage}
        for configured in on:
            for stage in stages_of(configured.kind):
                stages[stage].append(_entry(configured, stage, len(stages[stage])))
        self.entries = {stage: tuple(entries) for stage, entries in stages.items()}
        every = [entry for entries in stages.values() for entry in entries]
        self.is_empty = not every
        self.provider: dict[type[Evidence], Entry] = {}
        for entry in every:
            for kind in entry.provides:
                rival = self.provider.setdefault(kind, entry)
                if rival is not entry:
                    both = f"{rival.name} and {entry.name} both give {kind.__name__}"
                    raise PlanError(entry.name, both)
        for configured in on:
            self._check_needs(configured, off)
        self._check_cycles(every)

    def worst_case(self, stage: Stage, budget: float) -> float:
        """Seconds that a stage takes at most: all are asked together, those with effects after
        the ones before them. ``budget`` caps the message stage."""
        end = 0.0
        for entry in self.entries[stage]:
            if not entry.observed:
                end = max(end, (end if entry.has_effects else 0.0) + entry.timeout)
        return min(end, budget) if stage is Stage.MESSAGE else end

    def _check_needs(self, configured: Configured, off: Sequence[Configured]) -> None:
        last = max(stages_of(configured.kind), default=Stage.CONNECT)
        for kind in (*configured.kind.needs, *configured.kind.wants):
            asks = f"{configured.name} needs {kind.__name__}"
            if kind not in self.provider:
                if kind in configured.kind.wants:
                    continue
                idle = [other.name for other in off if kind in other.kind.provides]
                hint = f"{idle[0]} would give it, but is off" if idle else "no policy gives it"
                raise PlanError(configured.name, f"{asks}: {hint}")
            stage = self.provider[kind].stage
            if stage > last:
                text = f"{asks}, which is known only at {stage.name}"
                raise PlanError(configured.name, text)
            if stage is Stage.RCPT and last is Stage.MESSAGE:
                raise PlanError(configured.name, f"{asks}, which differs by recipient")

    def _check_cycles(self, every: Sequence[Entry]) -> None:
        graph = TopologicalSorter[Entry]()
        for entry in every:
            kinds = (*entry.needs, *entry.wants)
            waits_for = [self.provider[kind] for kind in kinds if kind in self.provider]
            if entry.has_effects:
                before = self.entries[entry.stage][: entry.place]
                waits_for += [other for other in before if not other.observed]
            graph.add(entry, *(other for other in waits_for if other.stage <= entry.stage))
        try:
            graph.prepare()
        except CycleError as error:
            circle = [entry.name for entry in reversed(error.args[1])]
            text = f"each waits for the next: {' > '.join(circle)}"
            raise PlanError(circle[0], text) from None


def stages_of(kind: type[Policy[Any]]) -> list[Stage]:
    """The stages for which the policy has a hook of its own."""
    names = {stage: f"on_{stage.name.lower()}" for stage in Stage}
    return [s for s, name in names.items() if getattr(kind, name) is not getattr(Policy, name)]


def _entry(configured: Configured, stage: Stage, place: int) -> Entry:
    kind, stages = configured.kind, stages_of(configured.kind)
    if kind.provides and kind.provides_at is None and len(stages) > 1:
        raise PlanError(
            configured.name, f"{configured.name} does not say at which stage it provides"
        )
    gives = kind.provides_at in (None, stage)
    whose = kind if configured.policy is None else configured.policy
    return Entry(
        stage=stage,
        place=place,
        name=configured.name,
        hook=getattr(whose, f"on_{stage.name.lower()}"),
        observed=configured.mode is Mode.OBSERVE,
        timeout=configured.timeout,
        failed=FAILED[configured.on_error],
        has_effects=kind.has_effects,
        needs=kind.needs,
        wants=kind.wants,
        provides=kind.provides if gives else (),
    )
