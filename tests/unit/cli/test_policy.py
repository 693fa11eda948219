"""`edgerelay policy`: installed, configured, and what the running relay counts."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from edgerelay.control.messages import (
    Failure,
    Message,
    Response,
    StatusAnswer,
    StatusRequest,
    WorkerStatus,
)

Run = Callable[..., Result]
Relay = Callable[[Response], AbstractContextManager[list[Message]]]

POLICIES = """
[[policy]]
use = "painter"
[[policy]]
use = "gourmet"
mode = "observe"
[[policy]]
use = "keeper"
enforce_share = 0.1
[[policy]]
use = "raiser"
mode = "off"
"""
ANSWER = StatusAnswer(
    version="0.1.0",
    uptime=1.0,
    pid=100,
    listeners=(),
    workers=(
        WorkerStatus(worker=0, pid=101, policies={"gourmet": {"agree": 1200, "disagree": 3}}),
        WorkerStatus(
            worker=1, pid=102, policies={"gourmet": {"agree": 34}, "keeper": {"defer": 7}}
        ),
    ),
)

pytestmark = pytest.mark.usefixtures("kitchen")


@pytest.fixture
def configured(state: Path, tmp_path: Path) -> Path:
    with (tmp_path / "e.toml").open("a") as file:
        file.write(POLICIES)
    return state


def rows(result: Result) -> dict[str, list[str]]:
    """The first line that begins with each word, in words."""
    lines = [line.split() for line in result.stdout.splitlines() if line]
    return {words[0]: words for words in reversed(lines)}


def listed(result: Result) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(result.stdout)
    return told


def test_counts_of_all_workers_stand_beside_the_mode(
    run: Run, relay: Relay, configured: Path
) -> None:
    with relay(ANSWER) as asked:
        result = run("policy", "list")
    assert result.exit_code == 0
    assert asked == [StatusRequest()]
    found = rows(result)
    zeros = ["0"] * 6
    assert found["gourmet"] == ["gourmet", "observe", *zeros, "1,234", "3"]
    assert found["keeper"][:5] == ["keeper", "enforce", "10%", "0", "7"]
    assert "there are no counts" not in result.stdout


def test_programs_get_the_same(run: Run, relay: Relay, configured: Path) -> None:
    with relay(ANSWER):
        told = listed(run("policy", "list", "--json"))
    counts = {each["name"]: each["counts"] for each in told["configured"]}
    assert counts == {
        "painter": {},
        "gourmet": {"agree": 1234, "disagree": 3},
        "keeper": {"defer": 7},
        "raiser": {},
    }
    assert told["note"] == ""


def test_without_a_relay_it_says_so(run: Run, configured: Path) -> None:
    result = run("policy", "list")
    assert result.exit_code == 0
    assert f"no relay is running on {configured}: there are no counts\n" in result.stdout
    told = listed(run("policy", "list", "--json"))
    assert [each["mode"] for each in told["configured"]] == [
        "enforce",
        "observe",
        "enforce",
        "off",
    ]
    assert {each["counts"] for each in told["configured"]} == {None}


def test_a_relay_that_does_not_answer_is_told_of(run: Run, relay: Relay, configured: Path) -> None:
    with relay(Failure(text="no answer within 60 s")):
        result = run("policy", "list")
    assert result.exit_code == 0
    assert f"cannot ask the relay on {configured}: no answer within 60 s" in result.stdout


def test_what_is_installed_is_described_by_itself(run: Run, state: Path) -> None:
    result = run("policy", "list", "--json")
    told = listed(result)
    assert (told["configured"], told["note"]) == ([], "no [[policy]] is configured")
    installed = {each["name"]: each for each in told["installed"]}
    assert installed["keeper"] == {
        "name": "keeper",
        "distribution": "kitchen-policies 1.2",
        "stages": ["rcpt"],
        "provides": [],
        "needs": [],
        "wants": ["Colour"],
        "has_effects": True,
        "summary": "Writes down who came.",
        "problem": "",
    }
    assert installed["painter"]["summary"] == "Gives every transaction a colour."
    assert installed["painter"]["provides"] == ["Colour"]
    assert "Colour" in rows(run("policy", "list"))["gourmet"]  # that it needs


def test_one_that_is_broken_hides_no_other(run: Run, state: Path) -> None:
    result = run("policy", "list")
    assert result.exit_code == 0
    (line,) = [line for line in result.stdout.splitlines() if line.startswith("broken")]
    assert "cannot be used" in line
    assert "has no attribute 'Missing'" in line


def test_without_a_configuration_there_is_still_what_is_installed(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("EDGERELAY_CONFIG")
    result = run("policy", "list")
    assert result.exit_code == 0
    assert "no configuration" in result.stdout
    assert "painter" in result.stdout


def test_a_configuration_that_is_wrong_is_exit_code_2(run: Run, tmp_path: Path) -> None:
    (tmp_path / "e.toml").write_text('[[policy]]\nuse = "gourmet"\n')
    for command in ("list", "graph"):
        result = run("policy", command)
        assert result.exit_code == 2
        assert "gourmet needs Colour" in result.stderr


def test_the_graph_is_drawn_by_stage(run: Run, configured: Path) -> None:
    result = run("policy", "graph")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "mail: at most 20 s",
        "  painter (gives Colour), 20 s",
        "rcpt: at most 20 s",
        "  gourmet (observe, needs Colour), 20 s",
        "  keeper (uses Colour, has effects), 20 s",
        "off: raiser",
    ]
    told = listed(run("policy", "graph", "--json"))
    assert [stage["stage"] for stage in told["stages"]] == ["mail", "rcpt"]
    assert told["off"] == ["raiser"]


def test_without_policies_nobody_is_asked(run: Run, state: Path) -> None:
    assert run("policy", "graph").stdout == "Nobody is asked: no [[policy]] is on\n"
