"""Options that several commands share; ``-c`` is good before a command and after it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from edgerelay.config.reading import find

F = TypeVar("F", bound=Callable[..., Any])

_KEY = "edgerelay.config"


def config_option(function: F) -> F:
    """``-c FILE``; what is said last wins."""

    def keep(ctx: click.Context, _parameter: click.Parameter, value: Path | None) -> None:
        if value is not None:
            ctx.find_root().meta[_KEY] = value

    return click.option(
        "-c",
        "--config",
        metavar="FILE",
        type=click.Path(path_type=Path),
        expose_value=False,
        callback=keep,
        help="The configuration file.",
    )(function)


def json_option(function: F) -> F:
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(function)


def config_path() -> Path:
    """The file that is meant. Raises ConfigError if there is none."""
    return find(click.get_current_context().find_root().meta.get(_KEY))


def age(_ctx: click.Context, _parameter: click.Parameter, value: str | None) -> float | None:
    """Read a duration as in the configuration: ``90s``, ``2h``, ``5d``."""
    if value is None:
        return None
    from edgerelay.units import duration

    try:
        return duration(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error
