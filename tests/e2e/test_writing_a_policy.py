"""A newcomer's way through docs/writing-a-policy.md: every command and output on it is real."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/writing-a-policy.md"
MAILDIRS = Path("/tmp/honest-helo")
#: Printed after each step, so that the output of one can be told from that of the next.
MARK = "--- step"


class Block(NamedTuple):
    kind: str  # "file", "step", "shows"
    argument: str
    text: str


def blocks() -> list[Block]:
    pattern = r"^<!-- (file|step|shows)(?:: ([^>]*?))? -->\n```\w*\n(.*?)^```$"
    found = re.findall(pattern, PAGE.read_text(), re.M | re.S)
    return [Block(*each) for each in found]


def script(directory: Path, story: list[Block]) -> str:
    """One shell session, since what it starts in one step it ends in another."""
    lines = ["set -u", f"cd {directory}"]
    for number, block in enumerate(story):
        if block.kind == "file":
            end = f"END_OF_FILE_{number}"
            lines.append(f"cat > {block.argument} <<'{end}'\n{block.text}{end}")
        elif block.kind == "step":
            wanted = block.argument.removeprefix("exit ") or "0"
            lines.append(
                f"{block.text}\nstatus=$?\necho\necho '{MARK}' {number} $status wanted {wanted}"
            )
    return "\n".join(lines)


def words(text: str) -> str:
    """Columns are as wide as the terminal wants them."""
    return re.sub(r"\s+", " ", text)


def environment(directory: Path) -> dict[str, str]:
    """A virtual environment of its own, in which what is installed here is there too."""
    venv = directory / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    site = sysconfig.get_path("purelib", vars={"base": str(venv), "platbase": str(venv)})
    ours = sysconfig.get_path("purelib")
    (Path(site) / "here.pth").write_text(f"{ROOT}\n{ROOT / 'policies'}\n{ours}\n")
    for command in ("edgerelay", "pytest"):
        program = venv / "bin" / command
        program.write_text(f'#!/bin/sh\nexec "{venv}/bin/python" -m {command} "$@"\n')
        program.chmod(0o755)
    return {
        **os.environ,
        "PATH": f"{venv / 'bin'}:{os.environ['PATH']}",
        "PIP_NO_BUILD_ISOLATION": "0",  # pip reads it the other way round: no isolation
        "PIP_NO_DEPS": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "COLUMNS": "200",
    }


def test_a_newcomer_gets_there_from_the_page_alone(tmp_path: Path) -> None:
    story = blocks()
    assert len([block for block in story if block.kind == "step"]) > 8
    shutil.rmtree(MAILDIRS, ignore_errors=True)
    work = tmp_path / "work"
    work.mkdir()
    try:
        done = subprocess.run(
            ["bash", "-c", script(work, story)],
            env=environment(tmp_path),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=180,
        )
    finally:
        shutil.rmtree(MAILDIRS, ignore_errors=True)
    outputs: dict[int, str] = {}
    rest = done.stdout
    for match in re.finditer(rf"(.*?)^{MARK} (\d+) (\d+) wanted (\d+)$", rest, re.M | re.S):
        number = int(match[2])
        outputs[number] = words(match[1])
        assert match[3] == match[4], f"{story[number].text}\n{match[1]}"
    last = 0
    for number, block in enumerate(story):
        if block.kind == "step":
            assert number in outputs, done.stdout[-3000:]
            last = number
        elif block.kind == "shows":
            for line in block.text.splitlines():
                assert words(line) in outputs[last], f"{line!r} is not in\n{outputs[last]}"
