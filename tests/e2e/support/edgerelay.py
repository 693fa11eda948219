"""The relay under test as a process: its configuration, its events, its workers, its end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.e2e.support.process import Server
from tests.e2e.support.waiting import wait_for

Table = Mapping[str, Any]


def toml(value: Any) -> str:
    """A value of a configuration as TOML."""
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return str(value)
        case Mapping():
            return "{ " + ", ".join(f"{key} = {toml(v)}" for key, v in value.items()) + " }"
        case list() | tuple():
            return "[" + ", ".join(toml(v) for v in value) + "]"
        case _:
            return json.dumps(str(value))


def document(config: Table) -> str:
    """A whole configuration: a mapping becomes ``[key]``, a list of them ``[[key]]``."""
    lines, tables = [], []
    for key, value in config.items():
        if isinstance(value, Mapping):
            tables += [f"\n[{key}]", *(f"{k} = {toml(v)}" for k, v in value.items())]
        elif isinstance(value, list) and value and isinstance(value[0], Mapping):
            for entry in value:
                tables += [f"\n[[{key}]]", *(f"{k} = {toml(v)}" for k, v in entry.items())]
        else:
            lines.append(f"{key} = {toml(value)}")
    return "\n".join([*lines, *tables, ""])


def relay_config(
    directory: Path,
    *next_hops: str,
    listener: Table | None = None,
    route: Table | None = None,
    also: Mapping[str, int] | None = None,
    second_listener: Table | None = None,
    **tables: Any,
) -> dict[str, Any]:
    """One listener on a free port, one route for example.test.

    ``also`` gives further domains and the ports of their next hops; ``second_listener`` listens
    beside the first; ``tables`` are merged in.
    """
    config: dict[str, Any] = {
        "hostname": "relay.test",
        "postmaster": "postmaster@example.test",
        "state_dir": str(directory / "state"),
        "workers": 1,
        "listener": [{"address": "127.0.0.1:0", "tls": "off", **(listener or {})}],
        "limits": {
            "connections_per_client": 20_000,
            "rate_per_client": "off",
            "min_free_space": "10MiB",
        },
        "route": [
            {
                "domains": ["example.test"],
                "next_hop": list(next_hops),
                "recipients": "any",
                "tls": "off",
                **(route or {}),
            }
        ],
    }
    config["route"] += [
        {"domains": [domain], "next_hop": [f"smtp://127.0.0.1:{port}"], "recipients": "any"}
        for domain, port in (also or {}).items()
    ]
    if second_listener is not None:
        config["listener"].append({"address": "127.0.0.1:0", **second_listener})
    if os.geteuid() == 0:
        config["user"] = "root"
    for name, table in tables.items():
        if isinstance(table, Mapping) and isinstance(config.get(name), dict):
            config[name] |= table
        else:
            config[name] = table
    return config


class Edgerelay(Server):
    """`python -m edgerelay serve`, ready when its event ``ready`` was read.

    ``wrapper`` is a command to run it under (strace, prlimit), ``python`` the interpreter of
    another installation.
    """

    def __init__(
        self,
        directory: Path,
        config: Table,
        *,
        wrapper: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        python: str | Path = sys.executable,
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.config = directory / "edgerelay.toml"
        self.config.write_text(document(config))
        self.config.chmod(0o600)
        self.state_dir = Path(str(config["state_dir"]))
        self.expected_exit: int | None = 0
        command = [*wrapper, str(python), "-m", "edgerelay", "serve", "-c", str(self.config)]
        super().__init__(directory, command, env=env)
        self._read = 0  # octets of the log
        self._events: list[dict[str, Any]] = []
        self._reading = threading.Lock()

    def start(self) -> None:
        self._read = self.log.stat().st_size if self.log.exists() else 0
        self._events = []
        super().start()

    def wait_ready(self) -> None:
        wait_for("the event ready", lambda: self.find("ready") or not self.running)
        assert self.running, f"it ended: {self.died()}"

    def stop(self, sig: int = signal.SIGTERM, timeout: float = 45.0) -> int:
        status = super().stop(sig, timeout)
        if self.expected_exit is not None and sig == signal.SIGTERM:
            assert status in (0, self.expected_exit), f"exit {status}: {self.died()}"
        return status

    # -- what it says ------------------------------------------------------------------------

    def events(self) -> list[dict[str, Any]]:
        """Every event since the last start."""
        with self._reading, self.log.open("rb") as log:
            log.seek(self._read)
            lines = log.read().splitlines(keepends=True)
            if lines and not lines[-1].endswith(b"\n"):
                lines.pop()
            self._read += sum(map(len, lines))
            self._events += [json.loads(line) for line in lines if line.startswith(b"{")]
            return list(self._events)

    def find(self, event: str, **fields: Any) -> list[dict[str, Any]]:
        """The events of that name whose fields are these."""
        return [
            found
            for found in self.events()
            if found.get("event") == event
            and all(found.get(key) == value for key, value in fields.items())
        ]

    def wait_event(
        self, event: str, count: int = 1, timeout: float = 20.0, **fields: Any
    ) -> list[dict[str, Any]]:
        return wait_for(
            f"{count} times the event {event} {fields}",
            lambda: found if len(found := self.find(event, **fields)) >= count else None,
            timeout,
        )

    @property
    def ports(self) -> list[int]:
        """Of its listeners, in the order of the configuration."""
        return [int(name.rpartition(":")[2]) for name in self.find("ready")[-1]["listeners"]]

    @property
    def port(self) -> int:
        return self.ports[0]

    # -- its processes ------------------------------------------------------------------------

    def worker_pids(self) -> list[int]:
        """The workers that live, from its own events."""
        started = {found["pid"] for found in self.find("worker_started")}
        ended = {found["pid"] for found in self.find("worker_ended")}
        return sorted(pid for pid in started - ended if Path(f"/proc/{pid}/stat").exists())

    def kill_worker(self, pid: int | None = None) -> int:
        """kill -9 one of the workers we started, and return its pid."""
        workers = self.worker_pids()
        victim = workers[0] if pid is None else pid
        assert victim in workers
        os.kill(victim, signal.SIGKILL)
        return victim

    # -- its commands ------------------------------------------------------------------------

    def cli(self, *arguments: str, timeout: float = 30.0) -> subprocess.CompletedProcess[str]:
        """``edgerelay ARGUMENTS -c FILE``."""
        return subprocess.run(
            [sys.executable, "-m", "edgerelay", *arguments, "-c", str(self.config)],
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def json(self, *arguments: str) -> Any:
        """What a listing says with ``--json``."""
        done = self.cli(*arguments, "--json")
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)
