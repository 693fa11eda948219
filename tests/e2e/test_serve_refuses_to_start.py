"""What keeps `serve` from starting is said in a clear line, with exit status 2."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import trustme

from tests.e2e.support.edgerelay import Edgerelay, document, relay_config


def serve(directory: Path, config: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    directory.mkdir(exist_ok=True)
    file = directory / "edgerelay.toml"
    file.write_text(document(config))
    command = [sys.executable, "-m", "edgerelay", "serve", "-c", str(file)]
    return subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)


def refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    assert done.returncode == 2, (done.returncode, done.stderr)
    assert "Traceback" not in done.stderr
    assert '"event":"ready"' not in done.stderr.replace(" ", "")
    for word in words:
        assert word in done.stderr, (word, done.stderr)


def test_a_second_serve_on_the_same_state(workdir: Path, relay: Callable[..., Edgerelay]) -> None:
    server = relay("smtp://127.0.0.1:1")
    second = relay_config(workdir / "second", "smtp://127.0.0.1:1")
    second["state_dir"] = str(server.state_dir)
    refused(serve(workdir / "second", second), str(server.state_dir))
    assert server.running


def test_a_port_in_use(workdir: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        config = relay_config(workdir, "smtp://127.0.0.1:1", listener={"address": address})
        refused(serve(workdir, config), address)


def test_every_mistake_is_named_at_once_with_the_nearest_right_key(workdir: Path) -> None:
    config = relay_config(workdir, "smtp://127.0.0.1:1", limits={"mesage_size": "1MiB"})
    config["workers"] = "many"
    config["hostnam"] = "x"
    config["route"][0]["next_hops"] = []
    done = serve(workdir, config)
    refused(done, "mesage_size", "message_size", "workers", "hostnam", "hostname")
    refused(done, "next_hops", "next_hop", "edgerelay.toml")


def test_a_private_key_that_others_may_read(workdir: Path) -> None:
    issued = trustme.CA().issue_cert("relay.test")
    issued.private_key_pem.write_to_path(workdir / "key.pem")
    issued.cert_chain_pems[0].write_to_path(workdir / "cert.pem")
    (workdir / "key.pem").chmod(0o644)
    config = relay_config(workdir, "smtp://127.0.0.1:1", listener={"tls": "starttls"})
    config["tls"] = {
        "certificate": str(workdir / "cert.pem"),
        "private_key": str(workdir / "key.pem"),
    }
    refused(serve(workdir, config), "key.pem")


def test_a_file_that_is_not_there(workdir: Path) -> None:
    command = [sys.executable, "-m", "edgerelay", "serve", "-c", str(workdir / "no.toml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    refused(done, "no.toml")
