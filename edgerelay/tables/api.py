"""What a table promises: a map of text to octets whose entries end by themselves.

Values are octets because nothing here looks into them: whoever keeps a value encodes it
(msgspec), and equal is what is equal octet by octet. All workers of a machine share a
table; what a worker read less than `STALE` seconds ago it may read again from its memory.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

#: Seconds for which another worker's change may stay unseen by `Table.get`.
STALE: Final = 5.0
#: Octets of a key; a mailbox has at most 320.
KEY_LIMIT: Final = 1024


#: From the value that stands, or None, to a new one and its seconds to live; None leaves it.
Change = Callable[[bytes | None], tuple[bytes, float] | None]


class TableError(Exception):
    """The table could not be read or written. The text is for the operator."""


class Table(Protocol):
    """Every method raises `TableError`, and ValueError for a key over `KEY_LIMIT` octets."""

    async def get(self, key: str) -> bytes | None:
        """Return the value, or None if there is none or its time is over."""

    async def put(self, key: str, value: bytes, *, expires_in: float) -> None:
        """Keep a value for so many seconds; it outlives this process when this returns."""

    async def setdefault(self, key: str, value: bytes, *, expires_in: float) -> bytes:
        """Keep the value if there is none, and return the one that stands: atomic among all
        workers, and never stale."""

    async def update(self, key: str, change: Change) -> bytes | None:
        """Let ``change`` see the value that stands and say what is to stand instead; return
        what stands then. Atomic among all workers, and never stale.

        ``change`` may run in a thread, and twice: it computes, and nothing else.
        """

    async def delete(self, key: str) -> None: ...


class Tables(Protocol):
    """A set of tables by name. `edgerelay.testing.check_table` is the contract."""

    def table(self, name: str) -> Table:
        """Return the table of that name; it comes to be by being used."""


def check_key(key: str) -> str:
    """Return the key, or raise ValueError if it is too long to be one."""
    if len(key) > KEY_LIMIT // 4 and len(key.encode("utf-8", "surrogatepass")) > KEY_LIMIT:
        raise ValueError(f"a table's key of {len(key)} characters")
    return key
