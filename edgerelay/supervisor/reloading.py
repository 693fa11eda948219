"""What a new configuration means for a relay that runs: a refusal, a certificate, or new workers.

Nothing here changes anything: it is found out whether and how, and the supervisor does it.
"""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import trio

from edgerelay.config import Config
from edgerelay.config.__main__ import MARK
from edgerelay.observe.escape import escape

#: Seconds for reading and checking the file, the policies' modules included.
READ_WITHIN: Final = 30.0


class ReloadRefused(Exception):
    """The relay goes on as before. ``problems`` are lines for the operator, all of them."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = list(problems)


async def read_again(path: Path) -> Config:
    """Read and check the file in a process of its own. Raises `ReloadRefused`."""
    command = [sys.executable, "-m", "edgerelay.config", str(path)]
    done = None
    with trio.move_on_after(READ_WITHIN):
        done = await trio.run_process(
            command,
            stdin=subprocess.DEVNULL,
            capture_stdout=True,
            capture_stderr=True,
            check=False,
        )
    if done is None:
        raise ReloadRefused([f"{path}: it was not read within {READ_WITHIN:g} s"])
    if done.returncode:
        last = done.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
        raise ReloadRefused([f"{path}: it could not be read: {escape(last, 500)}"])
    found = pickle.loads(done.stdout.partition(MARK)[2])  # noqa: S301 - our own child wrote it
    if not isinstance(found, Config):
        raise ReloadRefused(found)
    return found


def refuse_what_needs_a_restart(running: Config, wanted: Config, path: Path) -> None:
    """Raise `ReloadRefused` for changes that only a new `serve` can make."""
    problems = []
    if wanted.state_dir != running.state_dir:
        what = f"it is in {running.state_dir} that mail waits: stop, move it, start"
        problems.append(f"{path}: state_dir: cannot change while the relay runs: {what}")
    if (wanted.user, wanted.user_is_explicit) != (running.user, running.user_is_explicit):
        problems.append(f"{path}: user: cannot change while the relay runs: stop and start it")
    if problems:
        raise ReloadRefused(problems)


def is_certificate_alone(running: Config, wanted: Config) -> bool:
    """Nothing but certificates differs, and they can be exchanged in place."""
    if wanted.tls_files == running.tls_files or not wanted.tls_files or not running.tls_files:
        return False
    files, paths, signs = running.tls_files, running.tls_paths, running.tls_signs
    return replace(wanted, tls_files=files, tls_paths=paths, tls_signs=signs) == running
