"""mutants.py [MUTANT ...]: do the tests see a mistake in the data reader, made by hand?

Each mutants/*.diff is applied to a copy of the project, and the tests of the reader run on that.
Prints the diff and the first test that failed. Exit code 1 if one was not seen.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
MUTANTS = Path(__file__).with_name("mutants")
TESTS = (
    "tests/unit/smtp/test_data.py",
    "tests/dialogues",
    "tests/properties/test_smtp_data.py",
    "tests/properties/test_fuzz_corpus.py",
)


def is_seen(mutant: Path) -> bool:
    print(f"== {mutant.stem}\n{mutant.read_text()}", flush=True)
    with tempfile.TemporaryDirectory() as directory:
        copy = Path(directory)
        for part in ("edgerelay", "policies", "tests", "contrib/fuzz"):
            shutil.copytree(ROOT / part, copy / part)
        shutil.copy(ROOT / "pyproject.toml", copy)
        subprocess.run(["patch", "-s", "-p1", "-i", mutant], cwd=copy, check=True)
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *TESTS],
            cwd=copy,
            env={"PYTHONPATH": f"{copy}:{copy / 'policies'}"},
            capture_output=True,
            text=True,
            check=False,
        )
    failed = [line for line in done.stdout.splitlines() if line.startswith("FAILED")]
    said = (
        f"{len(failed)} tests see it: {failed[0]}" if failed else f"NOT SEEN\n{done.stdout[-500:]}"
    )
    print(said, "\n", flush=True)
    return bool(failed)


def main() -> int:
    wanted = sys.argv[1:]
    mutants = [
        each for each in sorted(MUTANTS.glob("*.diff")) if not wanted or each.stem in wanted
    ]
    return 0 if mutants and all([is_seen(mutant) for mutant in mutants]) else 1


if __name__ == "__main__":
    sys.exit(main())
