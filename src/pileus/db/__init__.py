"""The one database: engine, sessions, declarative base."""

from pileus.db.base import Base, new_id, utcnow
from pileus.db.engine import Database, Session, is_transient

__all__ = ["Base", "Database", "Session", "is_transient", "new_id", "utcnow"]
