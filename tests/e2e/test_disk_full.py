"""Next to a full disk no mail is taken, nothing half is kept, and deliveries go on."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.support.client import Client, message
from tests.e2e.support.edgerelay import Edgerelay
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
