"""How much room new mail may take: the file system's and our own free pages.

Deleted rows free pages inside the database, not on the disk, so both count.
"""

from __future__ import annotations

import trio

from edgerelay.spool.disk import Disk

#: Seconds for which an answer of the file system is believed.
FRESH: float = 1.0


class Space:
    """``min_free`` octets stay free; below that no new mail is taken."""

    def __init__(self, disk: Disk, min_free: int) -> None:
        self.min_free = min_free
        self._disk = disk
        self._own = 0
        self._on_disk = 0
        self._asked = float("-inf")
        self._full_until = float("-inf")

    @property
    def free(self) -> int:
        """Octets. Asks the file system at most once a second."""
        now = trio.current_time()
        if now - self._asked >= FRESH:
            self._asked = now
            try:
                self._on_disk = self._disk.free()
            except OSError:
                self._on_disk = 0  # a file system that does not answer has no room
        return self._on_disk + self._own

    @property
    def is_enough(self) -> bool:
        return self.free >= self.min_free and trio.current_time() >= self._full_until

    @property
    def is_full(self) -> bool:
        """A write failed for want of room a moment ago."""
        return trio.current_time() < self._full_until

    def own(self, octets: int) -> None:
        """Free pages of the database, as of the last transaction."""
        self._own = octets

    def ask_again(self) -> None:
        self._asked = float("-inf")

    def failed(self) -> None:
        """Something did not fit: no new mail until the next question, whatever it says."""
        self._full_until = trio.current_time() + FRESH
        self.ask_again()
