"""What ended long ago is forgotten with all that hangs on it; what lives, or ended lately, is kept."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import func, select

from pileus.clock import utcnow
from pileus.db import Database
from pileus.operations import OperationRow, StepRow
from pileus.operations.retention import forget

DAY_S = 86400.0


def test_old_operations_go_with_their_steps(db: Database) -> None:
    now = utcnow()
    ended = {"old": now - timedelta(days=3), "young": now - timedelta(hours=1), "live": None}
    with db.write() as session:
        for name, finished_at in ended.items():
            about = {"request_id": "r", "kind": "t", "subject_id": name, "arguments": {}, "created_at": now}
            row = OperationRow(id=name, state="succeeded", finished_at=finished_at, **about)
            step = {"position": 0, "name": "one", "key": "one", "outcome": "finished", "attempt": 1}
            session.add_all([row, StepRow(operation=row, started_at=now, **step)])
    with db.write() as session:
        assert forget(session, OperationRow.finished_at, DAY_S) == 1
    with db.write() as session:
        assert forget(session, OperationRow.finished_at, DAY_S) == 0
        assert set(session.scalars(select(OperationRow.id))) == {"young", "live"}
        assert session.scalar(select(func.count()).select_from(StepRow)) == 2
