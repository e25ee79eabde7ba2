"""Versioned notifications: written in the transaction of what they tell of, delivered afterwards, in order.

The form is oslo.messaging's, with a versioned payload (compute admin guide, Notifications). They are delivered at least
once, as lines of JSON in a file that rotates.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import msgspec
from sqlalchemy import delete, insert, select
from sqlalchemy.orm import Mapped, mapped_column

from pileus.db import Base, Database, Session, new_id, utcnow
from pileus.jsontypes import Values
from pileus.operations import wake

log = logging.getLogger(__name__)
BATCH = 500
MAX_BYTES = 64 * 1024 * 1024
"""Size at which the file becomes FILE.1 and a new one is begun."""


class Notification(Base):
    """One that was not delivered yet."""

    __tablename__ = "notifications"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    message_id: Mapped[str]
    event_type: Mapped[str]
    publisher_id: Mapped[str]
    priority: Mapped[str]
    payload: Mapped[Values]
    created_at: Mapped[datetime]


def emit(session: Session, event_type: str, told: Sequence[tuple[str, Values]], priority: str = "INFO") -> Values:
    """Tell of something that happened to one or several objects, if this transaction commits.

    Args:
        event_type: object.action.phase, such as "instance.create.end".
        told: of each its publisher (service:host) and payload.

    Returns:
        A *notify* stage for the timeline of each one's step.
    """
    now = time.time()
    common = {"event_type": event_type, "priority": priority, "created_at": utcnow()}
    rows = [{"message_id": new_id(), "publisher_id": one, "payload": payload} | common for one, payload in told]
    if rows:
        session.execute(insert(Notification), rows)
        session.after_commit(wake.notices.ring)
    detail = {"event": event_type}
    return {"name": "notify", "started": now, "finished": time.time(), "outcome": "finished", "detail": detail}


def versioned(name: str, version: str, data: Values) -> Values:
    """A payload in the form of Nova's versioned objects."""
    return {
        "nova_object.name": name,
        "nova_object.namespace": "nova",
        "nova_object.version": version,
        "nova_object.data": data,
    }


class Delivery:
    """Takes notifications from the database to the file."""

    def __init__(self, db: Database, path: Path) -> None:
        self._db, self._path = db, path
        self._stopping = False
        self._thread = threading.Thread(target=self._run, daemon=True, name="notifications")

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping = True
        wake.notices.set()
        self._thread.join(timeout=5)

    def _run(self) -> None:
        while not self._stopping:
            wake.notices.clear()
            try:
                while self.deliver() == BATCH:
                    pass
            except Exception:
                log.exception("notifications were not delivered; trying again")
            wake.notices.wait(10.0)

    def deliver(self) -> int:
        """Write what waits, oldest first; returns how many there were."""
        with self._db.read() as session:
            rows = list(session.scalars(select(Notification).order_by(Notification.id).limit(BATCH)))
        if rows:
            self._append(b"".join(msgspec.json.encode(_message(row)) + b"\n" for row in rows))
            with self._db.write() as session:
                session.execute(delete(Notification).where(Notification.id.in_([row.id for row in rows])))
        return len(rows)

    def _append(self, lines: bytes) -> None:
        if self._path.exists() and self._path.stat().st_size > MAX_BYTES:
            self._path.rename(self._path.with_name(self._path.name + ".1"))
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
        with os.fdopen(descriptor, "ab") as file:
            file.write(lines)
            file.flush()
            os.fsync(file.fileno())


def _message(row: Notification) -> Values:
    return {
        "message_id": row.message_id,
        "publisher_id": row.publisher_id,
        "event_type": row.event_type,
        "priority": row.priority,
        "payload": row.payload,
        "timestamp": row.created_at.isoformat(sep=" "),
    }
