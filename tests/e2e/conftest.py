"""Real servers, each in a directory of its own under one that ends with the test."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.support.edgerelay import Edgerelay, relay_config


@pytest.fixture
def workdir() -> Iterator[Path]:
    """A short path that other users may search, as Postfix and Dovecot want it."""
    directory = Path(tempfile.mkdtemp(prefix="er-", dir="/tmp"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def relay(workdir: Path) -> Iterator[Callable[..., Edgerelay]]:
    """``relay("smtp://127.0.0.1:PORT", …)`` starts an Edgerelay; the arguments are those of
    `relay_config`. All of them are ended after the test."""
    running: list[Edgerelay] = []

    def start(*next_hops: str, **options: Any) -> Edgerelay:
        directory = workdir / f"edgerelay{len(running)}"
        server = Edgerelay(directory, relay_config(directory, *next_hops, **options))
        running.append(server)
        server.start()
        return server

    yield start
    for server in running:
        server.stop()
