"""`edgerelay serve` hands a good configuration to the supervisor, and its exit code back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

import edgerelay.supervisor
from edgerelay.config import Config

Run = Callable[..., Result]


@pytest.mark.parametrize("code", [0, 2])
def test_the_exit_code_is_the_supervisors(
    run: Run, state: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    served: list[tuple[Path, Path]] = []

    def serve(config: Config, *, origin: Path) -> int:
        served.append((config.state_dir, origin))
        return code

    monkeypatch.setattr(edgerelay.supervisor, "serve", serve)
    assert run("serve", "-c", "e.toml").exit_code == code
    assert served == [(state, Path("e.toml"))]


def test_nothing_is_started_with_a_bad_configuration(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def serve(config: Config, *, origin: Path) -> int:
        raise AssertionError("started")

    monkeypatch.setattr(edgerelay.supervisor, "serve", serve)
    (tmp_path / "e.toml").write_text("x = 1\n")
    assert run("serve").exit_code == 2
