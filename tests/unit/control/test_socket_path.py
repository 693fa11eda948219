"""A deep directory is no obstacle to a socket in it."""

from __future__ import annotations

import socket
from pathlib import Path

from edgerelay.control.socket_path import bindable


def test_a_path_longer_than_the_kernel_takes(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 120)
    deep.mkdir()
    path = deep / "control.sock"
    with socket.socket(socket.AF_UNIX) as listening, socket.socket(socket.AF_UNIX) as client:
        with bindable(path) as address:
            listening.bind(address)
        listening.listen()
        assert path.is_socket()
        with bindable(path) as address:
            client.connect(address)


def test_a_short_path_is_used_as_it_is() -> None:
    with bindable(Path("/run/x.sock")) as address:
        assert address == "/run/x.sock"
