"""Small expiring maps that outlive a process."""

from edgerelay.tables.api import Table, TableError, Tables
from edgerelay.tables.memory import MemoryTables
from edgerelay.tables.sqlite import SqliteTables

__all__ = ["MemoryTables", "SqliteTables", "Table", "TableError", "Tables"]
