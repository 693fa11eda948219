"""What the documentation says can be run is run, and what it must name it names.

A block is run when the line above its fence is ``<!-- run -->``: shell in an empty
directory, TOML as a configuration that `edgerelay.config` must accept, Python as a file of
tests.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import click
import pytest

from edgerelay.cli.group import edgerelay
from edgerelay.config import parse
from edgerelay.observe import events

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


class Block(NamedTuple):
    page: Path
    line: int
    language: str
    text: str


def blocks() -> list[Block]:
    found = []
    for page in PAGES:
        text = page.read_text()
        for match in re.finditer(r"^<!-- run -->\n```(\w+)\n(.*?)^```$", text, re.M | re.S):
            line = text.count("\n", 0, match.start()) + 1
            found.append(Block(page, line, match[1], match[2]))
    return found


@pytest.mark.parametrize("block", blocks(), ids=lambda b: f"{b.page.relative_to(ROOT)}:{b.line}")
def test_a_block_that_says_so_runs(block: Block, tmp_path: Path) -> None:
    if block.language == "toml":
        parse(block.text.encode(), f"{block.page.name}:{block.line}")
        return
    if block.language == "python":
        run_tests(block, tmp_path)
        return
    assert block.language == "sh"
    program = f'edgerelay() {{ "{sys.executable}" -m edgerelay "$@"; }}\n{block.text}'
    done = subprocess.run(
        ["bash", "-eu", "-c", program],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def run_tests(block: Block, directory: Path) -> None:
    """As an author would run them: nothing of our own configuration helps."""
    (directory / "test_block.py").write_text(block.text)
    (directory / "pytest.ini").write_text("[pytest]\ntrio_mode = true\nfilterwarnings = error\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_block.py"],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_there_is_something_to_run() -> None:
    assert any(block.page.name == "README.md" for block in blocks())


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_that_a_page_names_exist(page: Path) -> None:
    """`edgerelay/…/name.py`, with or without ``:function``."""
    for path, name in re.findall(
        r"`((?:edgerelay|tests|contrib)/[\w/]+\.(?:py|sh|c))(?:::?(\w+(?:\.\w+)*))?`",
        page.read_text(),
    ):
        assert (ROOT / path).exists(), path
        if name:
            last = re.escape(name.rpartition(".")[2])
            defined = rf"^\s*(?:async )?(?:def|class) {last}\b|^{last}\b.*="
            assert re.search(defined, (ROOT / path).read_text(), re.M), f"{path} has no {name}"


def test_every_event_has_its_line() -> None:
    page = (ROOT / "docs/events.md").read_text()
    for event in events.Event.__subclasses__():
        tag = event.__struct_config__.tag
        assert f"`{tag}`" in page, f"docs/events.md does not tell of {tag}"


def test_every_command_and_option_has_its_line() -> None:
    page = (ROOT / "docs/commands.md").read_text()

    def walk(command: click.Command, path: str) -> None:
        for parameter in command.params:
            for option in parameter.opts:
                if option.startswith("--") and option not in ("--help", "--version"):
                    assert option in page, f"docs/commands.md does not tell of {path} {option}"
        if isinstance(command, click.Group):
            context = click.Context(command)
            for name in command.list_commands(context):
                child = command.get_command(context, name)
                assert child is not None
                assert name in page, f"docs/commands.md does not tell of {path} {name}"
                walk(child, f"{path} {name}")

    walk(edgerelay, "edgerelay")
