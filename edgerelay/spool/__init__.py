"""Durability: a message that was committed here survives kill -9, power loss and a full disk."""

from typing import TYPE_CHECKING, Any

from edgerelay.spool.api import SpoolLocked, SpoolTooNew

if TYPE_CHECKING:
    from edgerelay.spool.opening import open_memory_spool, open_spool
    from edgerelay.spool.sqlite import SqliteSpool

__all__ = ["SpoolLocked", "SpoolTooNew", "SqliteSpool", "open_memory_spool", "open_spool"]


def __getattr__(name: str) -> Any:
    """Import the implementation when it is asked for: who names only `spool.api`'s types, as
    the command line does, starts without Trio and SQLite."""
    if name in __all__:
        from edgerelay.spool import opening

        return getattr(opening, name)
    raise AttributeError(name)
