"""One process that a test started, and ends by its pid.

Its output goes to a file in the test's own directory, which a failure shows.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest


def needs(*programs: str) -> None:
    """Skip the test where a program is missing; in CI a missing program is a failure."""
    for program in programs:
        if shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin:/sbin") is None:
            message = f"{program} is not installed (see .ci/run)"
            if os.environ.get("CI"):
                pytest.fail(message)
            pytest.skip(message)


def run(*command: str, timeout: float = 60.0, text: str | None = None) -> str:
    """Run a program to its end and return what it printed. Raises AssertionError if it fails."""
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=timeout, input=text, check=False
    )
    assert done.returncode == 0, f"{command} gave {done.returncode}: {done.stdout}{done.stderr}"
    return done.stdout


class Server:
    """A process in the foreground with its log file. A context manager that ends it."""

    def __init__(
        self, directory: Path, command: Sequence[str], *, env: Mapping[str, str] | None = None
    ) -> None:
        self.directory = directory
        self.command = list(command)
        self.env = env
        self.log = directory / "output.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.pass_fds: tuple[int, ...] = ()  #: descriptors that it inherits

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=None if self.env is None else {**os.environ, **self.env},
                start_new_session=True,
                pass_fds=self.pass_fds,
            )
        try:
            self.wait_ready()
        except BaseException:
            self.stop()
            raise

    def wait_ready(self) -> None:
        """Return when it serves; raises AssertionError when it does not."""

    def died(self) -> str:
        """What to show of a server that is not there."""
        return self.log.read_text(errors="replace")[-4000:]

    def stop(self, sig: int = signal.SIGTERM, timeout: float = 20.0) -> int:
        """End it and return its exit status (negative: the signal). Idempotent."""
        if self.process is None:
            return 0
        if self.process.poll() is None:
            self.process.send_signal(sig)
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"pid {self.pid} did not end by {sig}: {self.died()}") from None
