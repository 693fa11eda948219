"""The configured policies as the pipeline will ask them, and what is unusual about them.

Read from a configuration that was found good; it opens no policy.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from edgerelay.config.values import Config
from edgerelay.pipeline.loading import plan_of, policy_class
from edgerelay.pipeline.plan import Entry, Plan
from edgerelay.pipeline.settings import Mode
from edgerelay.policy import Evidence, Stage

#: Seconds that a client waits for the reply to RCPT, and for that to the final dot (RFC 5321
#: sections 4.5.3.2.3 and 4.5.3.2.6).
_CLIENT_WAITS: Final = {Stage.RCPT: 300.0, Stage.MESSAGE: 600.0}


@dataclass(frozen=True, slots=True)
class Member:
    """One policy at one stage. Evidence is named by its type."""

    name: str
    mode: str
    timeout: float
    gives: tuple[str, ...]
    needs: tuple[str, ...]
    uses: tuple[str, ...]  #: if there is any
    has_effects: bool

    @property
    def text(self) -> str:
        """``greylisting (observe, uses SpfResult, has effects)``."""
        parts = [self.mode] if self.mode != Mode.ENFORCE.value else []
        for verb, kinds in (("gives", self.gives), ("needs", self.needs), ("uses", self.uses)):
            if kinds:
                parts.append(f"{verb} {' and '.join(kinds)}")
        if self.has_effects:
            parts.append("has effects")
        return f"{self.name} ({', '.join(parts)})" if parts else self.name


@dataclass(frozen=True, slots=True)
class StageGraph:
    """``worst_case`` is in seconds; observed policies do not count, nobody waits for them."""

    stage: str
    worst_case: float
    policies: tuple[Member, ...]


def graph(config: Config) -> list[StageGraph]:
    """Every stage at which somebody is asked, in their order."""
    plan, modes = plan_for(config), {each.name: each.mode.value for each in config.policies}
    budget = config.edge().decision_timeout
    return [
        StageGraph(
            stage.name.lower(),
            plan.worst_case(stage, budget),
            tuple(_member(entry, modes[entry.name], plan) for entry in entries),
        )
        for stage, entries in plan.entries.items()
        if entries
    ]


def plan_for(config: Config) -> Plan:
    """The plan of a good configuration, to look at."""
    return plan_of(config.policies, [policy_class(each.use) for each in config.policies])


def idle(config: Config) -> list[str]:
    """Policies that are configured and off."""
    return [each.name for each in config.policies if each.mode is Mode.OFF]


def unusual(config: Config) -> Iterator[tuple[str, str]]:
    """What works, yet is rarely meant: the policy or key, and what is odd."""
    plan = plan_for(config)
    on = {each.name: each for each in config.policies if each.mode is not Mode.OFF}
    for each in on.values():
        if each.enforce_share < 1 and each.mode is Mode.OBSERVE:
            yield f"policy {each.name}", "enforce_share does nothing in observe mode"
    for name in on:
        yield from ((f"policy {name}", text) for text in _odd_order(name, list(on), plan))
    yield from _unused(config, plan)
    yield from _too_slow(config, plan)
    keepers = dict.fromkeys(e.name for e in _every(plan) if e.has_effects)
    if config.tables_backend == "memory" and config.workers > 1 and keepers:
        text = "each worker keeps its own: one does not know what another told {}"
        yield "tables.backend", text.format(", ".join(keepers))


def _odd_order(name: str, order: Sequence[str], plan: Plan) -> Iterator[str]:
    entries = [entry for entry in _every(plan) if entry.name == name]
    for kind in dict.fromkeys(kind for entry in entries for kind in (*entry.needs, *entry.wants)):
        provider = plan.provider.get(kind)
        if provider is not None and order.index(provider.name) > order.index(name):
            yield f"it stands before {provider.name}, whose {kind.__name__} it uses"
    for entry in entries:
        after = plan.entries[entry.stage][entry.place + 1 :]
        judges = [e.name for e in after if not (e.observed or e.has_effects)]
        if entry.has_effects and not entry.observed and judges:
            yield f"it stands before {', '.join(judges)}: it keeps even what is refused there"


def _unused(config: Config, plan: Plan) -> Iterator[tuple[str, str]]:
    """Evidence that somebody would use and nobody gives, although a policy for it is there."""
    for each in config.policies:
        if each.mode is Mode.OFF:
            for kind in policy_class(each.use).provides:
                users = dict.fromkeys(e.name for e in _every(plan) if kind in e.wants)
                if users and kind not in plan.provider:
                    text = f"it is off, and {', '.join(users)} would use its {kind.__name__}"
                    yield f"policy {each.name}", text


def _too_slow(config: Config, plan: Plan) -> Iterator[tuple[str, str]]:
    budget = config.edge().decision_timeout
    # A first RCPT may have to wait for all that was begun before it.
    before = sum(plan.worst_case(stage, budget) for stage in Stage if stage <= Stage.RCPT)
    if before > _CLIENT_WAITS[Stage.RCPT]:
        text = f"they may take {before:g} s up to RCPT; clients give up after 300 s"
        yield "policies", text
    if budget > _CLIENT_WAITS[Stage.MESSAGE]:
        yield "limits.decision_timeout", "clients wait 600 s for the reply to the final dot"


def _every(plan: Plan) -> list[Entry]:
    return [entry for entries in plan.entries.values() for entry in entries]


def _member(entry: Entry, mode: str, plan: Plan) -> Member:
    return Member(
        name=entry.name,
        mode=mode,
        timeout=entry.timeout,
        gives=_names(entry.provides),
        needs=_names(entry.needs),
        uses=_names([kind for kind in entry.wants if kind in plan.provider]),
        has_effects=entry.has_effects,
    )


def _names(kinds: Sequence[type[Evidence]]) -> tuple[str, ...]:
    return tuple(kind.__name__ for kind in kinds)
