"""`edgerelay policy`: what is installed, what is configured, and how it fares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint

import click

from edgerelay.cli.options import config_option, config_path, json_option
from edgerelay.cli.output import print_json, print_table
from edgerelay.config.errors import ConfigError
from edgerelay.config.reading import load
from edgerelay.config.values import Config
from edgerelay.observe.escape import escape


@dataclass(frozen=True, slots=True)
class Installed:
    """``problem`` says why it cannot be used; then nothing is known of it but where it is."""

    name: str
    distribution: str  #: "edgerelay 0.1.0"
    stages: tuple[str, ...] = ()
    provides: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    wants: tuple[str, ...] = ()
    has_effects: bool = False
    summary: str = ""
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Configured:
    """``counts`` are since the start of each worker, added up; None: no relay tells."""

    name: str
    use: str
    mode: str
    enforce_share: float
    counts: Mapping[str, int] | None


@dataclass(frozen=True, slots=True)
class Listing:
    """``note`` says why there are no counts, or no configured policies."""

    configured: tuple[Configured, ...]
    installed: tuple[Installed, ...]
    note: str = ""


@click.group()
def policy() -> None:
    """Look at the policies: installed, configured, at work."""


@policy.command("list")
@config_option
@json_option
def list_(as_json: bool) -> None:
    """List configured policies with their counts, and all that are installed.

    Counts are those of the running relay; without one there are none, and it says so.
    """
    listing = _listing()
    if as_json:
        print_json(listing)
    else:
        _print(listing)


@policy.command("graph")
@config_option
@json_option
def graph_(as_json: bool) -> None:
    """Show who is asked at which stage, in which order, and who waits for whom."""
    from edgerelay.cli.policy_graph import StageGraph, graph, idle

    def show(stage: StageGraph) -> None:
        click.echo(f"{stage.stage}: at most {stage.worst_case:g} s")
        for member in stage.policies:
            click.echo(f"  {member.text}, {member.timeout:g} s")

    config = load(config_path())
    stages, off = graph(config), idle(config)
    if as_json:
        print_json({"stages": stages, "off": off})
        return
    for stage in stages:
        show(stage)
    if off:
        click.echo(f"off: {', '.join(off)}")
    if not stages:
        click.echo("Nobody is asked: no [[policy]] is on")


def _listing() -> Listing:
    from edgerelay.pipeline.loading import installed

    everything = tuple(map(_installed, installed().values()))
    try:
        path = config_path()
    except ConfigError as error:  # what is installed can be seen without a configuration
        return Listing((), everything, "; ".join(error.problems))
    config = load(path)
    counts, note = _counts(config) if config.policies else (None, "no [[policy]] is configured")
    return Listing(tuple(_configured(config, counts)), everything, note)


def _installed(point: EntryPoint) -> Installed:
    from edgerelay.pipeline.loading import LoadError, policy_class
    from edgerelay.pipeline.plan import stages_of

    distribution = f"{point.dist.name} {point.dist.version}" if point.dist else ""
    try:
        kind = policy_class(point.name)
    except LoadError as error:
        return Installed(point.name, distribution, problem=escape(str(error), 300))
    return Installed(
        name=point.name,
        distribution=distribution,
        stages=tuple(stage.name.lower() for stage in stages_of(kind)),
        provides=tuple(evidence.__name__ for evidence in kind.provides),
        needs=tuple(evidence.__name__ for evidence in kind.needs),
        wants=tuple(evidence.__name__ for evidence in kind.wants),
        has_effects=kind.has_effects,
        summary=escape((kind.__dict__.get("__doc__") or "").strip().partition("\n")[0], 100),
    )


def _configured(
    config: Config, counts: Mapping[str, Mapping[str, int]] | None
) -> Sequence[Configured]:
    return [
        Configured(
            name=each.name,
            use=each.use,
            mode=each.mode.value,
            enforce_share=each.enforce_share,
            counts=None if counts is None else dict(counts.get(each.name, {})),
        )
        for each in config.policies
    ]


def _counts(config: Config) -> tuple[Mapping[str, Mapping[str, int]] | None, str]:
    """What the running relay counts, or why it does not say."""
    from edgerelay.control.client import NoAnswer, NotRunning, ask, control_socket
    from edgerelay.control.merge import policy_counts
    from edgerelay.control.messages import StatusAnswer, StatusRequest

    try:
        answer = ask(control_socket(config.state_dir), StatusRequest(), timeout=30)
    except NotRunning as error:
        return None, f"{error}: there are no counts"
    except (NoAnswer, OSError) as error:
        return None, f"cannot ask the relay on {config.state_dir}: {error}"
    if not isinstance(answer, StatusAnswer):
        return None, "the relay gave no status"
    return policy_counts(answer), ""


def _print(listing: Listing) -> None:
    from edgerelay.pipeline.counts import KINDS

    if listing.configured:
        print_table(
            ["Configured", "Mode", *map(str.capitalize, KINDS)],
            [_counts_row(each, KINDS) for each in listing.configured],
        )
    if listing.note:
        click.echo(escape(listing.note))
    click.echo()
    print_table(
        ["Installed", "From", "Asked at", "Gives", "Needs", "Uses", "What it is"],
        [_installed_row(each) for each in listing.installed],
    )


def _counts_row(each: Configured, kinds: Sequence[str]) -> list[str]:
    mode = each.mode if each.enforce_share == 1 else f"{each.mode} {each.enforce_share:.0%}"
    if each.counts is None:
        return [each.name, mode, *("-" for _ in kinds)]
    return [each.name, mode, *(f"{each.counts.get(kind, 0):,}" for kind in kinds)]


def _installed_row(each: Installed) -> list[str]:
    lists = (each.stages, each.provides, each.needs, each.wants)
    what = f"cannot be used: {each.problem}" if each.problem else each.summary
    return [each.name, each.distribution, *(" ".join(names) or "-" for names in lists), what]
