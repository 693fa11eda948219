"""Who may change a delivery: a lane that tries it, or one other who has claimed it.

Whoever reads deliveries from disk sees them as they were when the read began. So a reader
says when it begins, and is told what has changed since.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class Claims:
    """Keys of deliveries that somebody other than their lane is changing."""

    def __init__(self) -> None:
        self._keys: set[int] = set()
        self._readers: list[set[int]] = []

    def __len__(self) -> int:
        return len(self._keys)

    def __contains__(self, key: object) -> bool:
        return key in self._keys

    def add(self, key: int) -> None:
        self._keys.add(key)

    def release(self, keys: Iterable[int]) -> None:
        """The changes are made: the deliveries are not what they were."""
        for key in keys:
            self._keys.discard(key)
            self.changed(key)

    def changed(self, key: int) -> None:
        """The delivery is not what it was a moment ago."""
        for reader in self._readers:
            reader.add(key)

    @contextmanager
    def reading(self) -> Iterator[set[int]]:
        """While a read goes on: gives the keys whose deliveries have changed since."""
        stale: set[int] = set()
        self._readers.append(stale)
        try:
            yield stale
        finally:
            # by identity: two readers may have seen the same changes
            self._readers = [reader for reader in self._readers if reader is not stale]
