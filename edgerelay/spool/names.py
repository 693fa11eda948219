"""Which shards there are below a spool, and what a new one may be called."""

from __future__ import annotations

from collections.abc import Container, Iterator
from itertools import count
from pathlib import Path


def shard_names(spool: Path) -> list[str]:
    """Every shard there is, owned or not; 2 comes before 10. Raises OSError."""
    names = (path.parent.name for path in spool.glob("*/spool.db"))
    return sorted(names, key=lambda name: (not name.isdigit(), len(name), name))


def new_names(spool: Path, taken: Container[str] = ()) -> Iterator[str]:
    """Names that no shard has, smallest first; what a removal left behind is used again."""
    for number in count():
        path = spool / str(number)
        is_free = not path.exists() or (path.is_dir() and not (path / "spool.db").exists())
        if is_free and path.name not in taken:
            yield path.name
