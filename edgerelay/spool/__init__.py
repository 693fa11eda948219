"""Durability: a message that was committed here survives kill -9, power loss and a full disk."""

from edgerelay.spool.api import SpoolLocked, SpoolTooNew
from edgerelay.spool.sqlite import SqliteSpool, open_memory_spool, open_spool

__all__ = ["SpoolLocked", "SpoolTooNew", "SqliteSpool", "open_memory_spool", "open_spool"]
