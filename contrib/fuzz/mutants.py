"""mutants.py [MUTANT ...]: do the tests see a mistake in the data reader, made by hand?

Each mutants/*.diff is applied to a copy of the project, and the tests of the reader run on that.
Prints the diff and the first test that failed. Exit code 1 if one was not seen.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from planting import every, planted  # noqa: E402 (the path comes first)

PARTS = ("edgerelay", "policies", "tests", "contrib/fuzz", "pyproject.toml")
TESTS = (
    "tests/unit/smtp/test_data.py",
    "tests/dialogues",
    "tests/properties/test_smtp_data.py",
    "tests/properties/test_fuzz_corpus.py",
)


def is_seen(mutant: Path) -> bool:
    with planted(mutant, PARTS) as copy:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *TESTS],
            cwd=copy,
            env={"PYTHONPATH": f"{copy}:{copy / 'policies'}"},
            capture_output=True,
            text=True,
            check=False,
        )
    failed = [line for line in done.stdout.splitlines() if line.startswith("FAILED")]
    said = f"{len(failed)} tests see it: {failed[0]}" if failed else "NOT SEEN"
    print(said, "" if failed else done.stdout[-500:], flush=True)
    return bool(failed)


if __name__ == "__main__":
    sys.exit(every(HERE / "mutants", is_seen))
