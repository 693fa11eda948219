"""The command `edgerelay` itself: finds the configuration, imports the one command asked for."""

from __future__ import annotations

from importlib import import_module
from typing import Any, Final

import click

from edgerelay import __version__
from edgerelay.cli.options import config_option
from edgerelay.cli.output import ConfigTrouble
from edgerelay.config.errors import ConfigError

#: Name, where it stands, and its line in the help: the help must not import them all.
_COMMANDS: Final = {
    "serve": ("edgerelay.cli.serve", "Run the relay."),
    "init": ("edgerelay.cli.init", "Write a commented configuration."),
    "check": ("edgerelay.cli.check", "Look whether the configuration would work here."),
    "status": ("edgerelay.cli.status", "Show what the running relay does."),
    "reload": ("edgerelay.cli.reload", "Have the running relay read its configuration again."),
    "queue": ("edgerelay.cli.queue", "List and change what waits for delivery."),
    "policy": ("edgerelay.cli.policy", "Show the policies: installed, configured, at work."),
    "try": ("edgerelay.cli.try_", "Show what would become of a message."),
}


class Commands(click.Group):
    """A group whose commands are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        place = _COMMANDS[cmd_name][0]  # whose last word is the function's name, too
        command = getattr(import_module(place), place.rpartition(".")[2])
        assert isinstance(command, click.Command)  # noqa: S101 - for the type checker
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in _COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ConfigError as error:
            raise ConfigTrouble(error.problems) from error


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="edgerelay %(version)s")
@config_option
def edgerelay() -> None:
    """An inbound SMTP relay: accepts mail, keeps it safe, hands it to the next hop.

    The configuration is -c FILE, else $EDGERELAY_CONFIG, else ./edgerelay.toml, else
    /etc/edgerelay/edgerelay.toml.
    """
