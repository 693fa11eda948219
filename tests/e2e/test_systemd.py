"""Under a service manager: what it hears, what it passes, and the unit that it is given."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.support.client import Client, message
from tests.e2e.support.edgerelay import Edgerelay, relay_config
from tests.e2e.support.next_hop import NextHop
from tests.e2e.support.waiting import pause, wait_for

UNITS = Path(__file__).parents[2] / "contrib/systemd"
#: Becomes the program in its arguments, with the descriptors that were given as 3, 4, ...
LAUNCHER = """\
import os, sys
fds = [int(fd) for fd in sys.argv[1].split(",")]
for number, fd in enumerate(fds):
    os.dup2(fd, 100 + number)
for number in range(len(fds)):
    os.dup2(100 + number, 3 + number)
    os.close(100 + number)
os.environ["LISTEN_PID"] = str(os.getpid())
os.environ["LISTEN_FDS"] = str(len(fds))
os.execv(sys.argv[2], sys.argv[2:])
"""


class ServiceManager:
    """The socket that NOTIFY_SOCKET names, and what was said there."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.said: list[list[str]] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.setblocking(False)

    def count(self, line: str) -> int:
        try:
            while True:
                self.said.append(self._socket.recv(4096).decode().split("\n"))
        except BlockingIOError:
            return sum(line in datagram for datagram in self.said)

    def close(self) -> None:
        self._socket.close()


@contextmanager
def managed(workdir: Path, **options: object) -> Iterator[tuple[Edgerelay, ServiceManager]]:
    manager = ServiceManager(workdir / "notify")
    environment = {"NOTIFY_SOCKET": str(manager.path), "WATCHDOG_USEC": "1000000"}
    config = relay_config(workdir / "relay", "smtp://127.0.0.1:1", **options)  # type: ignore[arg-type]
    server = Edgerelay(workdir / "relay", config, env=environment)
    server.start()
    try:
        yield server, manager
    finally:
        server.stop()
        manager.close()


def test_the_manager_hears_what_becomes_of_us(workdir: Path) -> None:
    with managed(workdir) as (server, manager):
        wait_for("READY=1", lambda: manager.count("READY=1"))
        assert any(f"STATUS=1 workers on 127.0.0.1:{server.port}" in each for each in manager.said)
        wait_for("the watchdog's food", lambda: manager.count("WATCHDOG=1") >= 4)

        assert server.cli("reload").returncode == 0
        wait_for("READY=1 again", lambda: manager.count("READY=1") == 2)
        assert manager.count("RELOADING=1") == 1
        (reloading,) = [each for each in manager.said if "RELOADING=1" in each]
        assert reloading[1].startswith("MONOTONIC_USEC=")

        os.kill(server.pid, signal.SIGSTOP)  # a loop that hangs
        pause(0.5)
        fed = manager.count("WATCHDOG=1")
        pause(1.5)
        assert manager.count("WATCHDOG=1") == fed
        os.kill(server.pid, signal.SIGCONT)
        server.stop()
        assert manager.count("STOPPING=1") == 1
        (stopping,) = [each for each in manager.said if "STOPPING=1" in each]
        assert int(stopping[2].removeprefix("EXTEND_TIMEOUT_USEC=")) > 35_000_000


def test_sockets_that_were_passed_are_served_and_survive_a_reload(workdir: Path) -> None:
    passed = [socket.create_server((host, 0)) for host in ("127.0.0.1", "127.0.0.2")]
    ports = [each.getsockname()[1] for each in passed]
    fds = [each.fileno() for each in passed]
    for fd in fds:
        os.set_inheritable(fd, True)
    launcher = [sys.executable, "-c", LAUNCHER, ",".join(map(str, fds))]
    with NextHop() as hop:
        config = relay_config(
            workdir / "relay",
            f"smtp://127.0.0.1:{hop.port}",
            listener={"address": "fd:smtp"},
        )
        server = Edgerelay(
            workdir / "relay", config, wrapper=launcher, env={"LISTEN_FDNAMES": "smtp:smtp"}
        )
        server.pass_fds = tuple(fds)
        with server:
            for each in passed:
                each.close()
            assert server.ports == ports
            with Client(ports[0]) as client:
                assert client.send("a@src.test", "b@example.test", message()).code == 250
            assert server.cli("reload").returncode == 0
            for host, port in zip(("127.0.0.1", "127.0.0.2"), ports, strict=True):
                with socket.create_connection((host, port), 10) as connection:
                    assert connection.recv(100).startswith(b"220 relay.test")
        hop.wait_taken(1)


def test_a_socket_that_nobody_passed_is_told(workdir: Path) -> None:
    config = relay_config(workdir / "r", "smtp://127.0.0.1:1", listener={"address": "fd:smtp"})
    server = Edgerelay(workdir / "r", config)
    with pytest.raises(AssertionError, match="nobody passed a socket fd:smtp; there is none"):
        server.start()


def test_privileges_are_gone_for_good_and_the_low_port_stays(workdir: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root has privileges to drop")
    python = "/usr/bin/python3"  # ours may be in root's own home
    paths = [str(UNITS.parents[1]), *(path for path in sys.path if "site-packages" in path)]
    environment = {"PYTHONPATH": ":".join(paths)}
    imports = [python, "-c", "import edgerelay.app"]
    env = {**os.environ, **environment}
    if subprocess.run(imports, user="nobody", env=env, cwd="/", check=False).returncode:
        pytest.skip("no other user may read this installation")
    config = relay_config(workdir / "relay", "smtp://127.0.0.1:1")
    config["user"] = "nobody"
    config["listener"][0]["address"] = "127.0.0.3:25"
    server = Edgerelay(workdir / "relay", config, python=python, env=environment)
    (workdir / "relay").chmod(0o755)
    server.config.chmod(0o644)
    with server:
        nobody = pwd.getpwnam("nobody").pw_uid
        for pid in (server.pid, *server.worker_pids()):
            status = Path(f"/proc/{pid}/status").read_text()
            fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
            assert set(fields["Uid"].split()) == {str(nobody)}
            assert int(fields["CapEff"], 16) == int(fields["CapPrm"], 16) == 0
            assert "0" not in fields["Groups"].split()
        assert (server.state_dir / "spool").stat().st_uid == nobody
        with socket.create_connection(("127.0.0.3", 25), 10) as connection:
            assert connection.recv(100).startswith(b"220")
        assert server.cli("reload").returncode == 0  # the port is bound already
        text = server.config.read_text()
        server.config.write_text(text + '[[listener]]\naddress = "127.0.0.4:25"\n')
        done = server.cli("reload")
        assert "a port below 1024 needs root or CAP_NET_BIND_SERVICE" in done.stderr


@pytest.fixture
def units(workdir: Path) -> Path:
    """The units, with a program that is there."""
    assert shutil.which("systemd-analyze"), "install systemd: only its tools are used"
    for unit in UNITS.iterdir():
        text = unit.read_text().replace("/usr/local/bin/edgerelay", "/bin/true")
        (workdir / unit.name).write_text(text)
    return workdir


def test_the_units_are_good(units: Path) -> None:
    names = [str(path) for path in sorted(units.glob("edgerelay.*"))]
    done = subprocess.run(
        ["systemd-analyze", "verify", *names], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_sandbox_is_tight(units: Path) -> None:
    done = subprocess.run(
        [
            "systemd-analyze",
            "security",
            "--offline=true",
            "--threshold=20",  # an exposure of 2.0
            str(units / "edgerelay.service"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-200:] + done.stderr
