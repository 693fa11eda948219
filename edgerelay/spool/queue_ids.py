"""Queue ids: letters and digits that are unique across shards and restarts, never used twice.

An id is a number and the tag of the shard that gave it. The number counts ticks of ten
microseconds since 1970, or is one more than the last one when the clock stands still or runs
backwards; the spool persists the last number with the rows that use it. The number is also
the key of the message's row, and the upper bits of the keys of its deliveries, so neither a
queue id nor a delivery's message needs an index.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from edgerelay.runtime import Clock
from edgerelay.spool.api import QueueId

#: Crockford's: no I, L, O, U, which people misread. In ASCII order, so ids sort by age.
ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
TICKS: Final = 100_000  #: of the number, per second
DELIVERY_BITS: Final = 14  #: lower bits of a delivery's key: 16,384 deliveries a message
TAG_BITS: Final = 20
_NUMBER_LIMIT: Final = 1 << (63 - DELIVERY_BITS)  # keys are SQLite's signed 64 bits: year 2148
_NUMBER_CHARS: Final = 10
_TAG_CHARS: Final = 4
_PAIRS: Final = [first + second for first in ALPHABET for second in ALPHABET]
#: To the digits that `int` knows in base 32; what is no digit of ours becomes none of its.
_DIGITS: Final = str.maketrans(
    ALPHABET + "ILOUilouabcdefghjkmnpqrstvwxyz", "0123456789abcdefghijklmnopqrstuv" + "!" * 30
)


def _base32(number: int, chars: int) -> str:
    """Write ``number`` with an even count of digits, two at a time."""
    text = ""
    for shift in range(5 * chars - 10, -1, -10):
        text += _PAIRS[number >> shift & 1023]
    return text


def first_key(number: int) -> int:
    """The smallest key a delivery of message ``number`` can have."""
    return number << DELIVERY_BITS


def number_of_key(key: int) -> int:
    """The message a delivery belongs to."""
    return key >> DELIVERY_BITS


class QueueIds:
    """Gives the ids of one shard. ``last`` is the highest number that was ever persisted."""

    def __init__(self, clock: Clock, tag: int, last: int) -> None:
        self._clock = clock
        self._tag = _base32(tag, _TAG_CHARS)
        self._last = last
        # Asked for twice or more in a message's life, mostly within a few milliseconds.
        self.number: Final = lru_cache(maxsize=4096)(self._number)

    def allocate(self) -> QueueId:
        number = int(self._clock() * TICKS)
        if not self._last < number < _NUMBER_LIMIT:
            number = self._last + 1
        self._last = number
        return self.text(number)

    @property
    def last(self) -> int:
        """The highest number that was given, used or not."""
        return self._last

    def text(self, number: int) -> QueueId:
        return QueueId(_base32(number, _NUMBER_CHARS) + self._tag)

    def _number(self, queue_id: str) -> int | None:
        """The number of one of our ids; None if this shard cannot have given it."""
        if len(queue_id) != _NUMBER_CHARS + _TAG_CHARS or not queue_id.endswith(self._tag):
            return None
        if not (queue_id.isascii() and queue_id.isalnum()):  # `int` takes signs and spaces
            return None
        try:
            number = int(queue_id[:_NUMBER_CHARS].translate(_DIGITS), 32)
        except ValueError:
            return None
        return number if 0 < number < _NUMBER_LIMIT else None
