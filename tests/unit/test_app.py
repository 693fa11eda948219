"""A worker that cannot begin says whether it is worth another try."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from edgerelay.app import TRY_AGAIN, tells_unraisable
from edgerelay.control.assignment import REFUSED_TO_START, Assignment
from edgerelay.control.frames import HEADER, body_length, decode, encode
from edgerelay.control.messages import Configure, Message, Owns, WorkerReady
from edgerelay.edge.settings import EdgeSettings
from edgerelay.observe.events import Event, Trouble
from edgerelay.pipeline.settings import PolicySettings
from edgerelay.relay.settings import RelaySettings
from edgerelay.runtime import in_thread
from edgerelay.spool import open_spool
from tests.policy_distribution import install


def assignment(state: Path, *policies: PolicySettings) -> Assignment:
    return Assignment(
        worker=0,
        state_dir=state,
        shard="0",
        edge=EdgeSettings("relay.example"),
        relay=RelaySettings("relay.example"),
        listeners=(),
        listener_fds=(),
        tls_files=None,
        dns_servers=(("127.0.0.1", 1),),
        dns_timeout=1.0,
        min_free_space=0,
        drain=1.0,
        policies=policies,
    )


def start(
    state: Path, *policies: PolicySettings, env: dict[str, str] | None = None
) -> tuple[int, str]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(encode(Configure(settings=assignment(state, *policies).to_octets())))
        command = [sys.executable, "-m", "edgerelay.app", str(theirs.fileno())]
        done = subprocess.run(
            command,
            pass_fds=(theirs.fileno(),),
            env={**os.environ, **(env or {})},
            capture_output=True,
            timeout=20,
            check=False,
        )
    return done.returncode, done.stderr.decode()


def shards_of_a_ready_worker(state: Path) -> tuple[tuple[str, ...], str]:
    """Start one, let it get ready, and let its supervisor end: what it owned, what it logged."""
    ours, theirs = socket.socketpair()
    command = [sys.executable, "-m", "edgerelay.app", str(theirs.fileno())]
    with ours, theirs:
        process = subprocess.Popen(
            command, pass_fds=(theirs.fileno(),), stderr=subprocess.PIPE, text=True
        )
        ours.settimeout(20)
        ours.sendall(encode(Configure(settings=assignment(state).to_octets())))
        owned = None
        while not isinstance(said := receive(ours), WorkerReady):
            owned = said if isinstance(said, Owns) else owned
    _, log = process.communicate(timeout=20)
    assert process.returncode == 0
    assert owned is not None
    return owned.shards, log


def receive(channel: socket.socket) -> Message:
    length = body_length(channel.recv(HEADER, socket.MSG_WAITALL))
    return decode(channel.recv(length, socket.MSG_WAITALL))


async def test_a_shard_that_a_worker_of_before_still_drains_does_not_keep_us_waiting(
    tmp_path: Path,
) -> None:
    async with open_spool(
        tmp_path / "spool" / "0",
        run_blocking=in_thread,
        clock=lambda: 0.0,
        observer=lambda _: None,
    ):
        owned, log = await trio.to_thread.run_sync(shards_of_a_ready_worker, tmp_path)
    assert owned == ("1",)
    assert "trouble" not in log


def test_a_broken_shard_does_not_keep_a_worker_from_taking_mail(tmp_path: Path) -> None:
    broken = tmp_path / "spool" / "0" / "spool.db"
    broken.parent.mkdir(parents=True)
    broken.write_bytes(b"no database at all" * 100)
    owned, log = shards_of_a_ready_worker(tmp_path)
    assert owned == ("1",)
    assert '"where":"shard 0"' in log
    assert broken.read_bytes() == b"no database at all" * 100


def test_a_disk_that_takes_no_spool_is_told_without_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "spool").write_bytes(b"no directory")
    status, said = start(tmp_path)
    assert status == TRY_AGAIN
    assert '"where":"spool"' in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("use", "reason"),
    [("closed", "RuntimeError: the door is locked"), ("nobody", "no policy of that name")],
)
def test_a_policy_that_cannot_be_opened_is_named_and_another_try_is_vain(
    tmp_path: Path, use: str, reason: str
) -> None:
    install(tmp_path / "site")
    path = os.pathsep.join([str(tmp_path / "site"), os.environ.get("PYTHONPATH", "")])
    status, said = start(tmp_path, PolicySettings(use, f"{use}-2"), env={"PYTHONPATH": path})
    assert status == REFUSED_TO_START
    assert f'"where":"policy {use}-2"' in said
    assert reason in said
    assert "Traceback" not in said


def test_what_nobody_can_be_told_of_is_an_event(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        def __del__(self) -> None:
            raise LookupError("gone")

    told: list[Event] = []
    monkeypatch.setattr(sys, "unraisablehook", tells_unraisable(told.append))
    broken = Broken()
    del broken
    [trouble] = told
    assert isinstance(trouble, Trouble)
    assert "LookupError('gone') in <function" in trouble.detail
