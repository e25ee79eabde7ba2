"""The one database: engine, sessions, declarative base."""

from pileus.clock import utcnow
from pileus.db.base import Base, new_id
from pileus.db.chunks import in_chunks
from pileus.db.engine import Contended, Database, OutcomeUnknown, Session, is_transient, is_unfit
from pileus.db.now import in_seconds

__all__ = [
    "Base",
    "Contended",
    "Database",
    "OutcomeUnknown",
    "Session",
    "in_chunks",
    "in_seconds",
    "is_transient",
    "is_unfit",
    "new_id",
    "utcnow",
]
