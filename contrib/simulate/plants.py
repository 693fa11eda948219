"""plants.py [PLANT ...]: does the simulation find a mistake that somebody plants?

Each plants/*.diff is applied to a copy of the program, and the seeds run on that, up to 500.
Prints the diff and at which seed, by which rule, it was found. Exit code 1 if one was not.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
PLANTS = Path(__file__).with_name("plants")
SEEDS = 500


def find(plant: Path) -> bool:
    print(f"== {plant.stem}\n{plant.read_text()}", flush=True)
    with tempfile.TemporaryDirectory() as directory:
        copy = Path(directory)
        for package in ("edgerelay", "policies"):
            shutil.copytree(ROOT / package, copy / package)
        subprocess.run(["patch", "-s", "-p1", "-i", plant], cwd=copy, check=True)
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


def main() -> int:
    wanted = sys.argv[1:]
    plants = [
        plant for plant in sorted(PLANTS.glob("*.diff")) if not wanted or plant.stem in wanted
    ]
    return 0 if plants and all([find(plant) for plant in plants]) else 1


if __name__ == "__main__":
    sys.exit(main())
