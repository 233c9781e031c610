"""What the service remembers: tables, transactions and the log, on SQLite and PostgreSQL."""

from keyvault.store.audit import LoggedEvent, StoredCheckpoint
from keyvault.store.log import Memory, Receipt
from keyvault.store.unit_of_work import Database, Reading, Work

__all__ = [
    "Database",
    "LoggedEvent",
    "Memory",
    "Reading",
    "Receipt",
    "StoredCheckpoint",
    "Work",
]
