"""run.py TIME [TARGET ...]: have atheris look for octets that break a check of `checks.py`.

Each target runs for that time ("90s", "2m") in a process of its own, from the seeds in
corpus/TARGET; what it learns stays in run/TARGET. Exit code 1 if one was broken, and where its
octets lie.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]

from checks import CHECKS  # noqa: E402  beside us

from edgerelay.units import positive_duration  # noqa: E402


def fuzz(target: str, seconds: int) -> int:
    learned = HERE / "run" / target
    learned.mkdir(parents=True, exist_ok=True)
    print(f"== {target} for {seconds} s", flush=True)
    done = subprocess.run(
        [
            sys.executable,
            __file__,
            "--one",
            target,
            str(learned),
            str(HERE / "corpus" / target),
            f"-max_total_time={seconds}",
            "-max_len=1200",
            "-timeout=10",
            "-print_final_stats=1",
            f"-artifact_prefix={learned}-found-",
        ],
        check=False,
        stderr=subprocess.PIPE,
        text=True,
    )
    told = [line for line in done.stderr.splitlines() if "number_of_executed" in line]
    if done.returncode == 0:
        print(*told, "no finding", sep="\n", flush=True)
    else:
        print(done.stderr[-3000:], f"FOUND; again with: {__file__} --one {target} FILE", sep="\n")
    return done.returncode


def one(target: str, arguments: list[str]) -> None:
    import atheris

    atheris.instrument_all()
    atheris.Setup([sys.argv[0], *arguments], CHECKS[target])
    atheris.Fuzz()


def main() -> int:
    if sys.argv[1] == "--one":
        one(sys.argv[2], sys.argv[3:])
        return 0
    seconds = int(positive_duration(sys.argv[1]))
    found = [target for target in sys.argv[2:] or CHECKS if fuzz(target, seconds)]
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
