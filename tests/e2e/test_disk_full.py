"""Next to a full disk no mail is taken, nothing half is kept, and deliveries go on."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.e2e.support.client import Client, message
from tests.e2e.support.edgerelay import Edgerelay
from tests.e2e.support.load import Load
from tests.e2e.support.next_hop import NextHop
from tests.e2e.support.process import run
from tests.e2e.support.waiting import wait_for


@pytest.fixture
def small_disk(workdir: Path) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("mounting a tmpfs needs root")
    disk = workdir / "disk"
    disk.mkdir()
    run("mount", "-t", "tmpfs", "-o", "size=64m,mode=0755", "none", str(disk))
    yield disk
    run("umount", "-l", str(disk))


def offer(port: int, content: bytes) -> int:
    with Client(port) as client:
        mail = client.command("MAIL FROM:<a@src.test>")
        if mail.code != 250:
            assert (mail.code, mail.text[:5]) == (452, "4.3.1"), mail
            return mail.code
        client.command("RCPT TO:<b@example.test>")
        data = client.command("DATA")
        if data.code != 354:
            assert (data.code, data.text[:5]) == (452, "4.3.1"), data
            return data.code
        client.write(content)
        return client.command(".").code


def test_a_full_disk_refuses_and_recovers(
    small_disk: Path, relay: Callable[..., Edgerelay]
) -> None:
    hop = NextHop(keep=lambda content: content[-200:])
    server = relay(
        f"smtp://127.0.0.1:{hop.port}",
        state_dir=str(small_disk / "state"),
        limits={"min_free_space": "16MiB"},
        queue={"retry": ["1s"]},
    )
    accepted = 0
    for _ in range(80):
        code = offer(server.port, message(size=1_000_000))
        accepted += code == 250
        if code == 452:
            break
    else:
        pytest.fail("80 MB went onto a disk of 64")
    assert accepted > 10
    filler = small_disk / "filler"
    try:
        with filler.open("wb") as file:
            while True:
                file.write(b"x" * 65536)
                file.flush()
    except OSError:
        pass
    assert offer(server.port, message()) == 452
    with hop:
        hop.wait_taken(accepted, 60)
        wait_for("an empty queue", lambda: not server.json("queue", "list"))
        filler.unlink()
        wait_for("mail is taken again", lambda: offer(server.port, message()) == 250)
        hop.wait_taken(accepted + 1)
    assert len(hop.confirmed()) == accepted + 1


def fill(path: Path) -> None:
    with suppress(OSError), path.open("wb") as file:
        while True:
            file.write(b"x" * 65536)
            file.flush()


@pytest.mark.parametrize("killed", [False, True], ids=["alive", "worker-killed"])
def test_a_disk_that_fills_under_load_costs_no_message(
    small_disk: Path, relay: Callable[..., Edgerelay], killed: bool
) -> None:
    """Deliveries go on, and service resumes by itself, whether or not a worker dies meanwhile."""
    hop = NextHop(keep=lambda content: content[:1000])
    server = relay(
        f"smtp://127.0.0.1:{hop.port}",
        state_dir=str(small_disk / "state"),
        limits={"min_free_space": "8MiB"},
        queue={"retry": ["1s"]},
        policy=[{"use": "greylisting", "mode": "observe"}],
    )
    with Load(server.port, sessions=8, each=3, size=150_000) as load:
        wait_for("the first refusals", lambda: sum(load.refused.values()) > 20, 60)
        fill(small_disk / "filler")
        seen = sum(load.refused.values())
        wait_for("refusals of a full disk", lambda: sum(load.refused.values()) > seen + 20, 60)
        if killed:
            server.kill_worker()
            wait_for("its successor", lambda: len(server.worker_pids()) == 1, 30)
        with hop:
            hop.wait_taken(10, 60)  # although nothing else fits
            begun = len(load.acknowledged)
            (small_disk / "filler").unlink()
            wait_for("mail is taken again", lambda: len(load.acknowledged) > begun + 50, 60)
            load.end()
            load.wait_delivered(hop)
            wait_for("an empty queue", lambda: not server.json("queue", "list"), 60)
    assert {reply[:10] for reply in load.refused} == {"452 4.3.1 "}
    assert len(server.find("trouble", where="spool")) < 20, "once, not for every message"
