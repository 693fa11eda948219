"""A Unix socket in a directory with a long name, which `sockaddr_un` has no room for."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

#: Octets of a path in `sockaddr_un` on Linux, without the final NUL.
_ROOM: Final = 107


@contextmanager
def bindable(path: Path) -> Iterator[str]:
    """Give a short name for ``path``, good within the block: through its directory, open.

    Raises OSError if there is no such directory.
    """
    if len(os.fsencode(path)) <= _ROOM:
        yield str(path)
        return
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)
