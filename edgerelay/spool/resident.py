"""The content of fresh messages stays in memory for their first delivery, within a budget.

Past the budget the oldest goes: what waits for long is read from the disk again.
"""

from __future__ import annotations

from typing import Final

#: What an entry costs besides its content, so that empty messages are bounded too.
_OVERHEAD: Final = 512


class ResidentContents:
    """Contents by message number; ``budget`` in octets."""

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._used = 0
        self._contents: dict[int, bytes] = {}
        self._outstanding: dict[int, int] = {}

    def add(self, number: int, content: bytes, deliveries: int) -> None:
        self._contents[number] = content
        if deliveries > 1:
            self._outstanding[number] = deliveries
        self._used += len(content) + _OVERHEAD
        while self._used > self._budget:
            self._drop(next(iter(self._contents)))

    def get(self, number: int) -> bytes | None:
        return self._contents.get(number)

    def settled(self, number: int) -> None:
        """One delivery of the message has its outcome."""
        if number in self._contents:
            left = self._outstanding.get(number, 1) - 1
            if left:
                self._outstanding[number] = left
            else:
                self._drop(number)

    @property
    def octets(self) -> int:
        return self._used

    def _drop(self, number: int) -> None:
        self._used -= len(self._contents.pop(number)) + _OVERHEAD
        self._outstanding.pop(number, None)
