"""What every command shares: the file that is meant, the exit codes, a quick start."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from edgerelay import __version__

Run = Callable[..., Result]


def process(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "edgerelay", *arguments],
        cwd=cwd,
        env={"PYTHONPATH": str(Path(__file__).parents[3])},
        capture_output=True,
        text=True,
        timeout=30,
    )


def test_the_version_is_told(run: Run) -> None:
    result = run("--version")
    assert (result.exit_code, result.stdout) == (0, f"edgerelay {__version__}\n")


def test_the_help_names_every_command(run: Run) -> None:
    result = run("--help")
    assert result.exit_code == 0
    for command in ("serve", "init", "check", "status", "queue", "policy", "try"):
        assert command in result.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["frobnicate"],
        ["status", "--frobnicate"],
        ["queue", "frobnicate"],
        ["queue", "show"],
        ["queue", "list", "--older", "soon"],
        ["queue", "list", "--status", "lost"],
        ["queue", "list", "--limit", "0"],
        ["queue", "delete"],
        ["queue", "hold"],
        ["queue", "release"],
        ["init", "example.com"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_exit_code_2(run: Run, state: Path, arguments: list[str]) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "Usage:" in result.stderr


@pytest.mark.parametrize("command", [["serve"], ["check"]])
def test_every_problem_of_the_configuration_is_told_and_is_exit_code_2(
    run: Run, tmp_path: Path, command: list[str]
) -> None:
    (tmp_path / "e.toml").write_text("drain = 5\nhostnam = 'x'\n[[route]]\ndomains = ['a.b']\n")
    result = run(*command)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.splitlines() == [
        'edgerelay: e.toml:1: drain: expected a duration such as "90s" (units: ms, s, m, h, d)',
        'edgerelay: e.toml:2: hostnam: unknown key; did you mean "hostname"?',
        "edgerelay: e.toml:3: route[1].next_hop: is required",
    ]


@pytest.mark.parametrize("command", [["status"], ["queue", "list"]])
def test_a_mistake_elsewhere_does_not_lock_an_operator_out(
    run: Run, state: Path, command: list[str]
) -> None:
    (state.parent / "e.toml").write_text('state_dir = "state"\nnonsense = 1\n')
    assert run(*command).exit_code == 1  # nothing runs there, which is another matter


def test_the_option_is_good_before_the_command_and_after_it(run: Run, tmp_path: Path) -> None:
    for arguments in (
        ("-c", "x.toml", "status"),
        ("status", "-c", "x.toml"),
        ("queue", "-c", "x.toml", "list"),
        ("queue", "list", "--config", "x.toml"),
    ):
        result = run(*arguments)
        assert result.exit_code == 2
        assert "x.toml: cannot be read: No such file" in result.stderr


def test_no_configuration_at_all_is_said(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDGERELAY_CONFIG")
    result = run("status")
    assert result.exit_code == 2
    assert "no configuration: give -c FILE or $EDGERELAY_CONFIG" in result.stderr


# As processes, for what the runner would hide.


def test_exit_codes_are_those_of_the_process(state: Path) -> None:
    directory = state.parent
    assert process("--version", cwd=directory).returncode == 0
    assert process("status", "-c", "e.toml", cwd=directory).returncode == 1
    assert process("check", "-c", "missing.toml", cwd=directory).returncode == 2
    assert process(cwd=directory).returncode == 2


def test_a_queue_command_imports_no_more_than_it_needs(tmp_path: Path) -> None:
    program = (
        "import sys, edgerelay.cli.group, edgerelay.cli.queue, edgerelay.cli.status\n"
        "print([m for m in ('pydantic', 'rich', 'trio', 'ssl', 'dns', 'sqlite3')"
        " if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": str(Path(__file__).parents[3])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "[]\n"
