"""Whatever becomes of one worker process, its keeper goes on, and with it the relay.

A whole worker is tried in tests/e2e; here are processes that no worker should be.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from edgerelay.control.assignment import Assignment
from edgerelay.edge.settings import EdgeSettings
from edgerelay.observe.events import Event, Trouble, WorkerEnded
from edgerelay.relay.settings import RelaySettings
from edgerelay.supervisor.worker import Worker

TALKS_NONSENSE = """\
#!{python}
import socket, sys
channel = socket.socket(fileno=int(sys.argv[3]))
channel.sendall({octets!r})
{then}
while channel.recv(4096):
    pass
"""


class Keeping:
    """A worker that is kept until its process has ended once."""

    def __init__(self, state_dir: Path) -> None:
        self.events: list[Event] = []
        self._ended = trio.Event()
        assignment = Assignment(
            worker=3,
            state_dir=state_dir,
            shard="",
            edge=EdgeSettings(hostname="mx.example.com"),
            relay=RelaySettings(hostname="mx.example.com"),
            listeners=(),
            listener_fds=(),
            tls_files=None,
            dns_servers=(),
            dns_timeout=5.0,
            min_free_space=0,
            drain=1.0,
        )
        self._worker = Worker(
            assignment,
            self._see,
            lambda _number, _message: None,
            lambda before: before or "3",
            lambda: None,
        )

    def _see(self, event: Event) -> None:
        self.events.append(event)
        if isinstance(event, WorkerEnded):
            self._ended.set()

    async def run(self) -> tuple[Trouble, WorkerEnded]:
        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._worker.keep)
                await self._ended.wait()
                await self._worker.drain(0)
        trouble = next(event for event in self.events if isinstance(event, Trouble))
        ended = next(event for event in self.events if isinstance(event, WorkerEnded))
        return trouble, ended


@pytest.fixture
def run_as_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    def run_as_worker(script: str) -> None:
        program = tmp_path / "program"
        program.write_text(script)
        program.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(program))

    return run_as_worker


@pytest.mark.parametrize(
    ("octets", "then"),
    [
        pytest.param(b"\xff" * 8, "", id="too long"),
        pytest.param(b"\0\0\0\1\xc1", "", id="no message of ours"),
        pytest.param(
            b"\0\0\1\0half", "channel.shutdown(socket.SHUT_WR)", id="ended within a message"
        ),
    ],
)
async def test_a_process_that_talks_nonsense_is_let_go_and_started_again(
    tmp_path: Path, run_as_worker: Callable[[str], None], octets: bytes, then: str
) -> None:
    run_as_worker(TALKS_NONSENSE.format(python=sys.executable, octets=octets, then=then))
    trouble, ended = await Keeping(tmp_path).run()
    assert (trouble.where, trouble.what) == ("worker 3", "the channel broke")
    assert (ended.status, ended.expected) == (0, False)
    assert ended.restart_in is not None


async def test_a_process_that_cannot_be_started_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "nothing"))
    trouble, ended = await Keeping(tmp_path).run()
    assert (trouble.where, trouble.what) == ("worker 3", "cannot be started")
    assert "No such file" in trouble.detail
    assert ended.restart_in is not None
