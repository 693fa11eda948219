"""systemd hears of us if it asked to, and nobody is hurt if it did not."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from edgerelay.supervisor.notify import Manager


@contextmanager
def listening(address: str) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(address)
        manager.setblocking(False)
        yield manager


def heard(manager: socket.socket) -> list[list[str]]:
    datagrams = []
    try:
        while True:
            datagrams.append(manager.recv(1000).decode().split("\n"))
    except BlockingIOError:
        return datagrams


def test_the_manager_that_asked_is_told(tmp_path: Path) -> None:
    path = str(tmp_path / "notify")
    with listening(path) as manager:
        us = Manager({"NOTIFY_SOCKET": path})
        us.ready("2 workers on 127.0.0.1:25")
        us.reloading()
        us.stopping(40.5)
        ready, reloading, stopping = heard(manager)
    assert ready == ["READY=1", "STATUS=2 workers on 127.0.0.1:25"]
    assert reloading[0] == "RELOADING=1"
    assert int(reloading[1].removeprefix("MONOTONIC_USEC=")) > 0
    assert stopping[0] == "STOPPING=1"
    assert stopping[2] == "EXTEND_TIMEOUT_USEC=40500000"


@pytest.mark.parametrize("address", ["@edgerelay-test-notify", "path"])
async def test_the_watchdog_is_fed_twice_in_its_time(
    tmp_path: Path, autojump_clock: MockClock, address: str
) -> None:
    path = address if address.startswith("@") else str(tmp_path / address)
    environment = {"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "30000000"}
    with listening(path.replace("@", "\0", 1)) as manager:
        with trio.move_on_after(100):
            await Manager(environment).watch()
        assert heard(manager) == [["WATCHDOG=1"]] * 7
    assert environment == {}, "the workers would answer, too"


async def test_who_is_not_watched_says_nothing(tmp_path: Path) -> None:
    path = str(tmp_path / "notify")
    other = str(os.getpid() + 1)
    with listening(path) as manager:
        for more in ({}, {"WATCHDOG_USEC": "1000", "WATCHDOG_PID": other}, {"WATCHDOG_USEC": "x"}):
            await Manager({"NOTIFY_SOCKET": path, **more}).watch()
        await Manager({"WATCHDOG_USEC": "1000"}).watch()
        assert heard(manager) == []


def test_a_manager_that_is_gone_is_no_trouble(tmp_path: Path) -> None:
    Manager({"NOTIFY_SOCKET": str(tmp_path / "gone")}).ready("")
    Manager({}).ready("")
