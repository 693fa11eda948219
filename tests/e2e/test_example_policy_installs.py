"""A policy of a third party, in a clean environment: built, installed, tested, found, asked."""

from __future__ import annotations

import os
import smtplib
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.support.edgerelay import Edgerelay, relay_config
from tests.e2e.support.next_hop import NextHop

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "contrib/example-policy"


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with edgerelay, and the example built and installed beside it."""
    directory = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", str(directory))
    pip = (str(directory / "bin/python"), "-m", "pip", "--disable-pip-version-check")
    run(*pip, "install", "--quiet", str(ROOT))
    run(*pip, "install", "--quiet", f"{EXAMPLE}[test]")
    return directory


def run(*command: str, cwd: Path | None = None) -> str:
    """The output of a program that succeeds, with nothing of this tree in its way."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**env, "PYTHONDONTWRITEBYTECODE": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, f"{' '.join(command)}:\n{done.stdout}{done.stderr}"
    return done.stdout


def test_its_own_test_passes(environment: Path) -> None:
    python = str(environment / "bin/python")
    said = run(python, "-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=EXAMPLE)
    assert "passed" in said
    where = run(python, "-c", "import acme_quiet_hours as a; print(a.__file__)", cwd=environment)
    assert where.startswith(str(environment)), "the tests ran against the source tree"


def test_it_is_found_and_a_running_relay_asks_it(environment: Path, workdir: Path) -> None:
    policy = {
        "use": "quiet-hours",
        "mailboxes": ["oncall@example.test"],
        "begins": 0,  # the same hour twice: it is always night
        "ends": 0,
    }
    with NextHop() as hop:
        config = relay_config(workdir / "relay", f"smtp://127.0.0.1:{hop.port}", policy=[policy])
        relay = Edgerelay(workdir / "relay", config, python=environment / "bin/python")
        listed = run(str(environment / "bin/edgerelay"), "policy", "list", "-c", str(relay.config))
        assert "quiet-hours" in listed
        relay.start()
        try:
            with smtplib.SMTP("127.0.0.1", relay.port) as client:
                client.ehlo("client.example")
                client.mail("ann@sender.example")
                code, text = client.rcpt("oncall@example.test")
                assert (code, text[:5]) == (450, b"4.2.1")
                assert client.rcpt("bob@example.test")[0] == 250
        finally:
            relay.stop()
