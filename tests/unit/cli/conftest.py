"""The command line in this process, and a relay behind a real socket that says what it is told."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from edgerelay.cli.group import edgerelay
from edgerelay.control.client import control_socket
from edgerelay.control.frames import HEADER, body_length, decode, encode
from edgerelay.control.messages import Message, Response

ROUTE = '[[route]]\ndomains = ["example.com"]\nnext_hop = ["mx"]\n'

Run = Callable[..., Result]


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A state directory that the configuration beside it names."""
    (tmp_path / "e.toml").write_text(f'state_dir = "state"\n{ROUTE}')
    (tmp_path / "state").mkdir(mode=0o700)
    return tmp_path / "state"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command in a directory of its own, with its configuration."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EDGERELAY_CONFIG", "e.toml")

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(edgerelay, arguments, prog_name="edgerelay")

    return run


@pytest.fixture
def relay(state: Path) -> Callable[..., object]:
    """A relay that gives every question the same answer; yields the questions."""

    @contextmanager
    def answering(response: Response) -> Iterator[list[Message]]:
        asked: list[Message] = []
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(control_socket(state)))
            listening.listen()

            def serve() -> None:
                while True:
                    accepted, _ = listening.accept()
                    with accepted, accepted.makefile("rb") as octets:
                        header = octets.read(HEADER)
                        if not header:
                            return
                        asked.append(decode(octets.read(body_length(header))))
                        accepted.sendall(encode(response))

            thread = threading.Thread(target=serve)
            thread.start()
            try:
                yield asked
            finally:
                with socket.socket(socket.AF_UNIX) as end:
                    end.connect(str(control_socket(state)))
                thread.join()

    return answering
