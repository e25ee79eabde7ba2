"""What is in the journal."""

from __future__ import annotations

from datetime import timedelta

from pileus.db import Database, utcnow
from pileus.operations import OperationRow
from pileus.operations.model import StepRow


def add_operation(db: Database, name: str, steps: list[tuple[str, str]], ended: bool = False) -> None:
    """One with steps and their outcomes; those that are under way began half an hour ago."""
    now = utcnow()
    before = now - timedelta(minutes=30)
    with db.write() as session:
        values = {
            "state": "running",
            "arguments": {},
            "request_id": "r",
            "finished_at": now + timedelta(hours=1) if ended else None,
        }
        session.add(OperationRow(id=name, kind=name, subject_id=f"of-{name}", created_at=before, **values))
        session.flush()
        for position, (step, outcome) in enumerate(steps):
            done = None if outcome == "begun" else before
            row = {"name": step, "key": step, "outcome": outcome, "attempt": 1, "host": "h", "finished_at": done}
            session.add(StepRow(operation_id=name, position=position, started_at=before, **row))
