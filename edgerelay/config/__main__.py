"""``python -m edgerelay.config FILE``: read it for a relay that runs, and has for long.

A policy that was installed anew is known to a new process alone. Writes `MARK` and a pickle: the
`Config`, or the list of everything that is wrong with it.
"""

from __future__ import annotations

import os
import pickle
import sys
from pathlib import Path
from typing import Final

from edgerelay.config.errors import ConfigError
from edgerelay.config.reading import load

#: What comes before it on standard output was printed by somebody else.
MARK: Final = b"\0edgerelay.config\0"


def main() -> None:
    with os.fdopen(os.dup(1), "wb") as answer:
        os.dup2(2, 1)  # a policy's module may print when it is imported
        try:
            found: object = load(Path(sys.argv[1]))
        except ConfigError as error:
            found = error.problems
        answer.write(MARK + pickle.dumps(found))


if __name__ == "__main__":
    main()
