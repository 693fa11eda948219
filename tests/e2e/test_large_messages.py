"""A message of 50 MiB costs its size on the disk and next to nothing in memory."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.support.client import Client, message
from tests.e2e.support.edgerelay import Edgerelay
from tests.e2e.support.tools import SmtpSink
from tests.e2e.support.waiting import pause, wait_for

MIB = 1 << 20


def status(pid: int, field: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    raise AssertionError(field)


def send(port: int, content: bytes) -> None:
    with Client(port, timeout=120) as client:
        client.command("MAIL FROM:<a@src.test>")
        client.command("RCPT TO:<b@example.test>")
        assert client.command("DATA").code == 354
        client.write(content)
        assert client.command(".").code == 250


@pytest.mark.parametrize(("together", "most"), [(1, 16 * MIB), (4, 32 * MIB)])
def test_peak_memory(
    workdir: Path, relay: Callable[..., Edgerelay], together: int, most: int
) -> None:
    if os.geteuid() != 0:
        pytest.skip("the peak of another process can only be reset by root")
    content = message(size=50 * MIB - 65536)
    with SmtpSink(workdir / "sink") as sink:
        server = relay(f"smtp://127.0.0.1:{sink.port}")
        for _ in range(20):
            send(server.port, message(size=4096))
        wait_for("the warm-up", lambda: sink.count == 20)
        pause(1)
        [worker] = server.worker_pids()
        before = status(worker, "VmRSS")
        Path(f"/proc/{worker}/clear_refs").write_text("5")
        threads = [
            threading.Thread(target=send, args=(server.port, content)) for _ in range(together)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        wait_for("delivery", lambda: sink.count == 20 + together, 60)
        growth = status(worker, "VmHWM") - before
    assert growth < most, f"{growth / MIB:.1f} MiB"
