"""`edgerelay check`: three exit codes, a table or JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

Run = Callable[..., Result]

GOOD = """\
hostname = "mx.test"
state_dir = "state"
[dns]
servers = ["127.0.0.1:9"]
timeout = "100ms"
[[route]]
domains = ["example.com"]
next_hop = ["{hop}"]
"""


@pytest.fixture
def configured(tmp_path: Path) -> Callable[[str], None]:
    def configure(hop: str) -> None:
        (tmp_path / "e.toml").write_text(GOOD.format(hop=hop))

    return configure


def test_what_works_is_exit_code_0(
    run: Run, configured: Callable[[str], None], tmp_path: Path
) -> None:
    configured(f"maildir://{tmp_path}/mail")
    result = run("check")
    assert result.exit_code == 0, result.stdout
    assert "configuration" in result.stdout
    assert not (tmp_path / "state").exists()


def test_what_does_not_work_is_exit_code_1(run: Run, configured: Callable[[str], None]) -> None:
    configured("lmtp+unix:///nowhere/lmtp")
    result = run("check", "--json")
    assert result.exit_code == 1
    problems = [found for found in json.loads(result.stdout) if found["grade"] == "problem"]
    assert problems == [
        {
            "grade": "problem",
            "what": "next hop lmtp+unix:///nowhere/lmtp",
            "text": "No such file or directory",
        }
    ]
    assert "found a problem" in result.stderr


def test_the_spool_of_a_relay_that_never_ran_cannot_be_checked(
    run: Run, configured: Callable[[str], None], tmp_path: Path
) -> None:
    configured(f"maildir://{tmp_path}/mail")
    result = run("check", "--spool")
    assert result.exit_code == 1
    assert "no relay has ever run" in result.stdout


def test_a_wrong_configuration_is_exit_code_2(run: Run, tmp_path: Path) -> None:
    (tmp_path / "e.toml").write_text("x = 1\n")
    result = run("check")
    assert result.exit_code == 2
    assert result.stdout == ""
