"""`edgerelay reload`: the running relay goes on with what its configuration says now."""

from __future__ import annotations

import click

from edgerelay.cli.options import config_option, config_path
from edgerelay.cli.output import NotSo, complain
from edgerelay.config.reading import state_dir_of
from edgerelay.control.client import NoAnswer, NotRunning, ask, control_socket
from edgerelay.control.messages import Reload, Reloaded


@click.command()
@config_option
def reload() -> None:
    """Have the running relay read its configuration again, as SIGHUP does, and wait for it.

    Exit code 1, with every reason, if it goes on as before.
    """
    state_dir = state_dir_of(config_path())
    try:
        answer = ask(control_socket(state_dir), Reload())
    except NotRunning as error:
        raise NotSo(str(error)) from error
    except NoAnswer as error:
        for problem in str(error).splitlines():
            complain(problem)
        raise NotSo("not reloaded: the relay goes on as before") from error
    except PermissionError as error:
        raise NotSo(f"cannot ask the relay on {state_dir}: {error}") from error
    if not isinstance(answer, Reloaded):
        raise NotSo("the relay did not say whether it has reloaded")
    click.echo(f"reloaded: {answer.text}")
