"""Another configuration, without a lost session, a refused connection or a message twice."""

from __future__ import annotations

import os
import signal
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.e2e.support.client import Client, message
from tests.e2e.support.edgerelay import Edgerelay, document, relay_config
from tests.e2e.support.load import Load
from tests.e2e.support.next_hop import NextHop
from tests.e2e.support.tls import issue
from tests.e2e.support.waiting import free_port, pause, wait_for
from tests.policy_distribution import install


def rewrite(server: Edgerelay, next_hop: str, **options: Any) -> None:
    config = relay_config(server.config.parent, next_hop, **options)
    server.config.write_text(document(config))


def shards(server: Edgerelay) -> list[str]:
    return sorted(path.name for path in (server.state_dir / "spool").iterdir())


def test_reloads_under_load_cost_no_session(relay: Callable[..., Edgerelay]) -> None:
    with NextHop(keep=lambda content: content[:1000]) as hop:
        server = relay(f"smtp://127.0.0.1:{hop.port}", workers=2)
        with Load(server.port, each=5) as load:
            for _ in range(5):
                pause(0.3)
                done = server.cli("reload")
                assert (done.returncode, done.stderr) == (0, "")
                assert done.stdout.startswith("reloaded: 2 new workers")
        assert not load.failed
        assert not load.refused
        assert load.finished > 10
        came = load.wait_delivered(hop)
        assert set(came.values()) == {1}
        wait_for("the old workers' end", lambda: len(server.worker_pids()) == 2)
        wait_for("the end of their shards", lambda: len(shards(server)) == 2)
        assert all(event["status"] == 0 for event in server.find("worker_ended"))


def test_a_session_goes_on_with_what_it_began_with(relay: Callable[..., Edgerelay]) -> None:
    with NextHop() as hop:
        server = relay(f"smtp://127.0.0.1:{hop.port}")
        (before,) = server.worker_pids()
        with Client(server.port) as old:
            rewrite(server, f"smtp://127.0.0.1:{hop.port}", limits={"message_size": "1MiB"})
            os.kill(server.pid, signal.SIGHUP)
            server.wait_event("reloaded")
            with Client(server.port) as new:
                assert "SIZE 1048576" in new.ehlo.lines
            assert "SIZE 1048576" not in old.command("EHLO again.test").lines
            assert old.send("a@src.test", "b@example.test", message()).code == 250
            pause(0.5)
            assert before in server.worker_pids()
            assert old.command("NOOP").code == 250
            assert old.command("QUIT").code == 221
        wait_for("the end of its worker", lambda: before not in server.worker_pids())
        hop.wait_taken(1)


def test_a_session_that_lasts_does_not_outlast_sigterm(relay: Callable[..., Edgerelay]) -> None:
    server = relay("smtp://127.0.0.1:1", drain="2s")
    with Client(server.port) as client:
        client.command("MAIL FROM:<a@src.test>")
        assert server.cli("reload").returncode == 0
        os.kill(server.pid, signal.SIGTERM)
        assert client.read().code == 421
        assert server.stop(timeout=10) == 0


def test_what_is_wrong_is_told_and_nothing_changes(relay: Callable[..., Edgerelay]) -> None:
    server = relay("smtp://127.0.0.1:1")
    pids = server.worker_pids()
    good = server.config.read_text()
    server.config.write_text('workrs = 1\ndrain = "soon"\n' + good)
    done = server.cli("reload")
    assert done.returncode == 1
    assert 'workrs: unknown key; did you mean "workers"?' in done.stderr
    assert "drain: " in done.stderr
    assert done.stderr.splitlines()[-1].endswith("the relay goes on as before")
    os.kill(server.pid, signal.SIGHUP)
    server.wait_event("trouble", 4, where="reload", what="refused")

    server.config.write_text(good.replace(str(server.state_dir), f"{server.state_dir}2"))
    os.kill(server.pid, signal.SIGHUP)
    (said,) = server.wait_event("trouble", 5, where="reload")[4:]
    assert "state_dir: cannot change while the relay runs" in said["detail"]

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server.config.write_text(good + f'[[listener]]\naddress = "127.0.0.1:{port}"\n')
        assert "another program is listening there" in server.cli("reload").stderr

    assert server.worker_pids() == pids
    server.config.write_text(good)
    assert server.cli("reload").returncode == 0


def test_listeners_come_and_go(relay: Callable[..., Edgerelay]) -> None:
    first, second = free_port(), free_port()
    server = relay("smtp://127.0.0.1:1", listener={"address": f"127.0.0.1:{first}"})
    staying = Client(first)
    text = server.config.read_text()
    server.config.write_text(text + f'[[listener]]\naddress = "127.0.0.1:{second}"\n')
    assert server.cli("reload").returncode == 0
    Client(first).close()
    Client(second).close()

    server.config.write_text(text.replace(f":{first}", f":{second}"))
    assert server.cli("reload").returncode == 0
    Client(second).close()
    with pytest.raises(ConnectionRefusedError):
        Client(first)
    assert server.json("status")["listeners"] == [f"127.0.0.1:{second}"]
    with staying:
        assert staying.command("NOOP").code == 250


def serial_shown(port: int, trusted: ssl.SSLContext) -> str:
    with Client(port) as client:
        assert client.command("STARTTLS").code == 220
        client.start_tls(trusted, "localhost")
        found = client._socket.getpeercert()  # type: ignore[attr-defined]  # it is a TLS socket now
        assert found is not None
        return str(found["serialNumber"])


def test_a_certificate_is_exchanged_in_place(
    relay: Callable[..., Edgerelay], workdir: Path
) -> None:
    authority = trustme.CA()
    tls = issue(workdir, "localhost", authority=authority)
    trusted = ssl.create_default_context()
    authority.configure_trust(trusted)
    server = relay("smtp://127.0.0.1:1", listener={"tls": "starttls"}, tls=tls)
    pids = server.worker_pids()
    first = serial_shown(server.port, trusted)
    with Client(server.port) as begun:
        issue(workdir, "localhost", authority=authority)
        done = server.cli("reload")
        assert done.stdout == "reloaded: the certificate was exchanged\n", done.stderr
        second = serial_shown(server.port, trusted)
        assert second != first
        assert begun.command("STARTTLS").code == 220
        begun.start_tls(trusted, "localhost")
        assert begun.command("EHLO client.test").code == 250

    good = (workdir / "cert.pem").read_bytes()
    (workdir / "cert.pem").write_bytes(good[:-200])
    assert server.cli("reload").returncode == 1
    assert serial_shown(server.port, trusted) == second
    assert server.worker_pids() == pids

    (workdir / "cert.pem").write_bytes(good)
    server.kill_worker()  # the one that comes has it, too
    wait_for("another worker", lambda: server.worker_pids() not in ([], pids))
    assert serial_shown(server.port, trusted) == second


@contextmanager
def queued(hop: NextHop, server: Edgerelay, count: int) -> Iterator[None]:
    """Messages that wait for a hop that is down, until the block ends."""
    hop.stop()
    with Client(server.port) as client:
        for number in range(count):
            content = message(identifier=f"q{number}")
            assert client.send("a@src.test", "b@example.test", content).code == 250
    yield
    hop.start()
    for worker in server.json("status")["workers"]:
        assert worker["state"] == "running"
    assert server.cli("queue", "flush", "--all").returncode == 0
    hop.wait_taken(count)
    assert len(hop.confirmed()) == count


def test_more_workers_and_fewer(relay: Callable[..., Edgerelay]) -> None:
    hop = NextHop()
    with hop:
        address = f"smtp://127.0.0.1:{hop.port}"
        server = relay(address, workers=3)
        with queued(hop, server, 30):
            rewrite(server, address, workers=1)
            assert server.cli("reload").returncode == 0
            wait_for("one worker", lambda: len(server.worker_pids()) == 1)
            wait_for(
                "that owns it all",
                lambda: (
                    not server.json("status")["shards_without_owner"]
                    and server.json("status")["workers"][0]["queue"]["messages"] == 30
                ),
            )
            rewrite(server, address, workers=2)
            assert server.cli("reload").returncode == 0
            wait_for("two workers", lambda: len(server.worker_pids()) == 2)
            wait_for("their mail", lambda: len(server.json("queue", "list")) == 30)
        wait_for("two shards", lambda: len(shards(server)) == 2)
        assert server.json("queue", "list") == []


def test_policies_are_loaded_anew_and_one_that_does_not_open_is_refused(
    relay: Callable[..., Edgerelay], workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(workdir / "site")
    monkeypatch.setenv("PYTHONPATH", str(workdir / "site"))
    server = relay("smtp://127.0.0.1:1", policy=[{"use": "access"}])
    text = server.config.read_text()
    server.config.write_text(text + '\n[[policy]]\nuse = "closed"\n')
    done = server.cli("reload")
    assert done.returncode == 1
    assert "policy closed: RuntimeError: the door is locked" in done.stderr
    with Client(server.port) as client:
        assert client.greeting.code == 220

    server.config.write_text(text + '\n[[policy]]\nuse = "painter"\ncoats = "many"\n')
    assert "coats" in server.cli("reload").stderr

    module = next((workdir / "site").rglob("*.py"))
    module.write_text(module.read_text().replace("coats: int = 1", "coats: str = ''"))
    done = server.cli("reload")
    assert done.returncode == 0, done.stderr  # what was installed anew takes it


def test_the_queue_can_be_asked_about_while_workers_change(
    relay: Callable[..., Edgerelay],
) -> None:
    server = relay("smtp://127.0.0.1:1", workers=2)
    with Client(server.port) as client:
        for number in range(10):
            content = message(identifier=f"q{number}")
            assert client.send("a@src.test", "b@example.test", content).code == 250
    for _ in range(5):
        os.kill(server.pid, signal.SIGHUP)
        for _ in range(4):
            done = server.cli("queue", "list", "--json")
            assert (done.returncode, done.stderr) == (0, "")
            assert done.stdout.count('"queue_id"') == 10


def test_many_hangups_are_few_reloads_and_none_ends_the_relay(
    relay: Callable[..., Edgerelay],
) -> None:
    server = relay("smtp://127.0.0.1:1")
    for _ in range(100):
        os.kill(server.pid, signal.SIGHUP)
    server.wait_event("reloaded", 1)
    pause(3)
    assert 1 <= len(server.find("reloaded")) <= 5
    server.config.rename(server.config.with_suffix(".gone"))
    os.kill(server.pid, signal.SIGHUP)
    (said,) = server.wait_event("trouble", where="reload")
    assert "cannot be read" in said["detail"]
    with Client(server.port) as client:
        assert client.greeting.code == 220
