"""A configuration is read anew, whole or not at all, and compared with the one that runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edgerelay.config import Config, parse
from edgerelay.net.key_pairs import KeyPair, TlsFiles
from edgerelay.supervisor.reloading import (
    ReloadRefused,
    is_certificate_alone,
    read_again,
    refuse_what_needs_a_restart,
)

GOOD = """\
hostname = "mx.example.com"
state_dir = "state"
[[route]]
domains = ["example.com"]
next_hop = ["smtp://10.0.0.5:25"]
"""


def config(text: str = GOOD) -> Config:
    return parse(text.encode(), "edgerelay.toml")


async def test_what_is_read_again_is_what_would_be_read_at_a_start(tmp_path: Path) -> None:
    path = tmp_path / "edgerelay.toml"
    path.write_text(GOOD)
    assert await read_again(path) == parse(GOOD.encode(), str(path))


async def test_what_is_printed_on_the_way_is_no_part_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A policy's module that prints something when it is imported, for instance."""
    path = tmp_path / "edgerelay.toml"
    path.write_text(GOOD)
    (tmp_path / "sitecustomize.py").write_text("print('hello')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert (await read_again(path)).hostname == "mx.example.com"


async def test_everything_wrong_with_it_is_told(tmp_path: Path) -> None:
    path = tmp_path / "edgerelay.toml"
    path.write_text('workrs = 2\ndrain = "soon"\n' + GOOD)
    with pytest.raises(ReloadRefused) as refused:
        await read_again(path)
    assert [problem.split(": ")[1] for problem in refused.value.problems] == ["workrs", "drain"]


async def test_a_file_that_is_gone_is_told(tmp_path: Path) -> None:
    with pytest.raises(ReloadRefused, match="cannot be read: No such file"):
        await read_again(tmp_path / "edgerelay.toml")


async def test_a_policy_that_ends_the_process_that_reads_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tomllib.py").write_text("raise SystemExit('whatever it is')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(ReloadRefused, match="could not be read: whatever it is"):
        await read_again(tmp_path / "edgerelay.toml")


@pytest.mark.parametrize(
    ("key", "other"),
    [
        ("state_dir", GOOD.replace('"state"', '"elsewhere"')),
        ("user", 'user = "nobody"\n' + GOOD),
    ],
)
def test_what_only_a_new_process_can_change_is_refused(key: str, other: str) -> None:
    with pytest.raises(ReloadRefused, match=f"here.toml: {key}: cannot change"):
        refuse_what_needs_a_restart(config(), config(other), Path("here.toml"))
    refuse_what_needs_a_restart(config(), config(), Path("here.toml"))


def test_another_certificate_alone_needs_no_new_worker() -> None:
    running = replace(config(), tls_files=TlsFiles((KeyPair(b"chain", b"key"),)))
    renewed = replace(running, tls_files=TlsFiles((KeyPair(b"another chain", b"key"),)))
    assert is_certificate_alone(running, renewed)
    assert not is_certificate_alone(running, running)
    assert not is_certificate_alone(running, replace(renewed, workers=7))
    # STARTTLS comes or goes with it
    assert not is_certificate_alone(config(), renewed)
    assert not is_certificate_alone(running, config())
