"""How much room new mail may take: the file system's and our own free pages.

Deleted rows free pages inside the database, not on the disk, so both count. Without its ballast
a shard takes no mail, whatever is free: a disk filled to the last block by mail alone could not
take in what became of it, and would stay full for ever.
"""

from __future__ import annotations

from typing import Final

import trio

from edgerelay.spool.disk import Disk

#: Seconds for which an answer of the file system is believed.
FRESH: float = 1.0
#: Octets of ballast without which no mail is taken.
LEAST_BALLAST: Final = 1024 * 1024


def ballast_for(room: int, wanted: int) -> int:
    """How much of ``room`` octets to reserve; 0 if that would be too little to be of use."""
    octets = min(wanted, room // 4)
    return octets if octets >= min(wanted, LEAST_BALLAST) else 0


class Space:
    """``min_free`` octets stay free; below that no new mail is taken. ``ballast``: octets that
    are to be reserved, 0 for none."""

    def __init__(self, disk: Disk, min_free: int, ballast: int = 0) -> None:
        self._ballast = ballast
        self._least_ballast = min(ballast, LEAST_BALLAST)
        self._min_free = min_free
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
        return (
            self.free >= self._min_free
            and not self.lacks_ballast
            and trio.current_time() >= self._full_until
        )

    @property
    def lacks_ballast(self) -> bool:
        return self._disk.ballast < self._least_ballast

    @property
    def ballast_to_take(self) -> int:
        """Octets; 0: there is some, or no room for it."""
        if not self.lacks_ballast or self.is_full:
            return 0
        surplus = self.free - self._min_free
        return ballast_for(min(surplus, self._on_disk), self._ballast)

    @property
    def is_full(self) -> bool:
        """A write failed for want of room a moment ago."""
        return trio.current_time() < self._full_until

    def own(self, octets: int) -> None:
        """Free pages of the database, as of the last transaction."""
        self._own = octets

    def spent(self, octets: int) -> None:
        """New mail took so much, once in the log and once in the database at most."""
        self._on_disk = max(0, self._on_disk - 2 * octets)

    def ask_again(self) -> None:
        self._asked = float("-inf")

    def failed(self) -> None:
        """Something did not fit: no new mail until the next question, whatever it says."""
        self._full_until = trio.current_time() + FRESH
        self.ask_again()
