"""plants.py [PLANT ...]: does the simulation find a mistake that somebody plants?

Each plants/*.diff is applied to a copy of the program, and the seeds run on that, up to 500.
Prints the diff and at which seed, by which rule, it was found. Exit code 1 if one was not.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from planting import every, planted  # noqa: E402 (the path comes first)

SEEDS = 500


def find(plant: Path) -> bool:
    with planted(plant, ("edgerelay", "policies")) as copy:
        simulation = [sys.executable, "-m", "edgerelay.testing.simulation"]
        done = subprocess.run(
            [*simulation, f"--seeds={SEEDS}", "--stop"],
            cwd=copy,
            env={**os.environ, "PYTHONPATH": f"{copy}:{copy / 'policies'}"},
            capture_output=True,
            text=True,
            check=False,
        )
    problems = [line for line in done.stdout.splitlines() if line.startswith("seed ")]
    found = done.returncode == 1 and bool(problems)
    print(problems[0] if found else f"NOT FOUND: {done.stdout[-300:]}{done.stderr[-1000:]}", "\n")
    return found


if __name__ == "__main__":
    sys.exit(every(HERE / "plants", find))
