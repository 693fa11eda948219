"""Policies that cannot work are refused by `check` and by `serve` alike: exit code 2, and whose
table it is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.support.client import Client, message
from tests.e2e.support.edgerelay import Edgerelay, document, relay_config
from tests.policy_distribution import install, python_path


@pytest.fixture(autouse=True)
def kitchen(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(workdir / "site")
    monkeypatch.setenv("PYTHONPATH", python_path(workdir / "site"))


def edgerelay(
    command: str, directory: Path, config: dict[str, Any]
) -> subprocess.CompletedProcess[str]:
    file = directory / "edgerelay.toml"
    file.write_text(document(config))
    arguments = [sys.executable, "-m", "edgerelay", command, "-c", str(file)]
    return subprocess.run(arguments, capture_output=True, text=True, timeout=20, check=False)


def configured(directory: Path, *policies: dict[str, Any]) -> dict[str, Any]:
    return relay_config(directory, f"maildir://{directory}/mail", policy=list(policies))


MISTAKES = [
    ("no_such_policy", [{"use": "paintr"}], ["policy[1].use", 'did you mean "painter"?']),
    (
        "cannot_be_imported",
        [{"use": "broken"}],
        ["policy[1].use", "kitchen_policies:Missing", "cannot be loaded"],
    ),
    (
        "unknown_option",
        [{"use": "painter", "color": "red"}],
        ["policy[1].color", 'unknown key; did you mean "colour"?'],
    ),
    (
        "isolation_does_not_exist",
        [{"use": "painter", "isolation": "task"}],
        ["policy[1].isolation", "unknown key"],
    ),
    ("wrong_value", [{"use": "painter", "coats": "two"}], ["policy[1].coats", "a whole number"]),
    (
        "off_is_checked_too",
        [{"use": "painter", "mode": "off", "coats": "two"}],
        ["policy[1].coats", "a whole number"],
    ),
    ("cycle", [{"use": "egg"}, {"use": "hen"}], ["policy[1]", "egg > hen > egg"]),
    (
        "missing_provider",
        [{"use": "gourmet"}],
        ["policy[1]", "gourmet needs Colour: no policy gives it"],
    ),
    (
        "provider_off",
        [{"use": "painter", "mode": "off"}, {"use": "gourmet"}],
        ["policy[2]", "gourmet needs Colour: painter would give it, but is off"],
    ),
    (
        "provider_off_for_an_observer",
        [{"use": "painter", "mode": "off"}, {"use": "gourmet", "mode": "observe"}],
        ["policy[2]", "painter would give it, but is off"],
    ),
    (
        "evidence_of_a_later_stage",
        [{"use": "late"}, {"use": "gourmet"}],
        ["policy[2]", "gourmet needs Colour, which is known only at MESSAGE"],
    ),
    (
        "two_providers",
        [{"use": "painter"}, {"use": "painter"}],
        ["policy[2]", "painter and painter-2 both give Colour"],
    ),
]


@pytest.mark.parametrize(
    ("policies", "said"),
    [pytest.param(policies, said, id=name) for name, policies, said in MISTAKES],
)
@pytest.mark.parametrize("command", ["check", "serve"])
def test_what_cannot_work_is_exit_code_2_and_says_which(
    workdir: Path, command: str, policies: list[dict[str, Any]], said: list[str]
) -> None:
    done = edgerelay(command, workdir, configured(workdir, *policies))
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert "ready" not in done.stderr
    (line,) = done.stderr.splitlines()
    assert f"{workdir}/edgerelay.toml:" in line
    for words in said:
        assert words in line


def test_every_mistake_is_told_at_once(workdir: Path) -> None:
    wrong: dict[str, Any] = {"use": "painter", "color": 1}
    policies = [{"use": "paintr"}, wrong, {"use": "keeper", "mode": "on"}]
    config = configured(workdir, *policies)
    config["decison_timeout"] = "1s"
    done = edgerelay("serve", workdir, config)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 4, done.stderr
    for words in ("decison_timeout", "policy[1].use", "policy[2].color", "policy[3].mode"):
        assert words in done.stderr


def test_a_policy_that_does_not_open_keeps_the_relay_from_starting(workdir: Path) -> None:
    done = edgerelay("serve", workdir, configured(workdir, {"use": "painter"}, {"use": "closed"}))
    assert done.returncode == 2, done.stderr
    assert '"where":"policy closed"' in done.stderr
    assert "RuntimeError: the door is locked" in done.stderr
    assert '"event":"ready"' not in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("backend", ["sqlite", "memory"])
def test_what_can_work_starts_without_any_dns(workdir: Path, backend: str) -> None:
    policies = [{"use": "gourmet"}, {"use": "painter"}, {"use": "keeper"}]
    config = configured(workdir, *policies)
    config |= {"dns": {"servers": ["127.0.0.1:9"]}, "tables": {"backend": backend}}
    server = Edgerelay(workdir / "good", config)
    server.start()
    try:
        with Client(server.port) as client:
            assert client.send("a@b.test", "x@example.test", message()).code == 250
        assert (server.state_dir / "tables.db").exists() is (backend == "sqlite")
    finally:
        assert server.stop() == 0


def test_check_shows_who_is_asked_when_and_for_how_long(workdir: Path) -> None:
    policies = [{"use": "keeper"}, {"use": "painter", "timeout": "3s", "mode": "observe"}]
    done = edgerelay("check", workdir, configured(workdir, *policies))
    found = " ".join(done.stdout.split())
    assert "policies at mail painter (observe, gives Colour); at most 0 s" in found
    assert "policies at rcpt keeper (uses Colour, has effects); at most 20 s" in found
    assert "warning policy keeper it stands before painter" in found
