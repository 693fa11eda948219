"""`edgerelay serve`: read the configuration, then hand over to the supervisor."""

from __future__ import annotations

import click

from edgerelay.cli.options import config_option, config_path


@click.command()
@config_option
@click.pass_context
def serve(ctx: click.Context) -> None:
    """Run the relay until SIGTERM.

    Logs go to standard error: pretty on a terminal, JSON lines otherwise.
    """
    from edgerelay.config.reading import load
    from edgerelay.supervisor import serve as supervise

    path = config_path()
    ctx.exit(supervise(load(path), origin=path))
