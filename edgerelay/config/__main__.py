"""``python -m edgerelay.config FILE``: read it for a relay that runs, and has for long.

A policy that was installed anew is known to a new process alone. Prints a pickle: the `Config`,
or the list of everything that is wrong with it.
"""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

from edgerelay.config.errors import ConfigError
from edgerelay.config.reading import load


def main() -> None:
    try:
        found: object = load(Path(sys.argv[1]))
    except ConfigError as error:
        found = error.problems
    sys.stdout.buffer.write(pickle.dumps(found))


if __name__ == "__main__":
    main()
