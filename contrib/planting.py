"""Mistakes that somebody plants by hand, each a diff, and whoever must find them."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


@contextmanager
def planted(diff: Path, parts: Sequence[str]) -> Iterator[Path]:
    """Print the diff, and give a copy of these parts of the project that it is applied to."""
    print(f"== {diff.stem}\n{diff.read_text()}", flush=True)
    with tempfile.TemporaryDirectory() as directory:
        copy = Path(directory)
        for part in parts:
            if (ROOT / part).is_dir():
                shutil.copytree(ROOT / part, copy / part)
            else:
                shutil.copy(ROOT / part, copy / part)
        subprocess.run(["patch", "-s", "-p1", "-i", diff], cwd=copy, check=True)
        yield copy


def every(folder: Path, is_found: Callable[[Path], bool]) -> int:
    """Try those that the command line names, or all; the exit code is 1 if one was not found."""
    wanted = sys.argv[1:]
    diffs = [diff for diff in sorted(folder.glob("*.diff")) if not wanted or diff.stem in wanted]
    return 0 if diffs and all([is_found(diff) for diff in diffs]) else 1
