"""What ended long ago is forgotten with all that hangs on it; what lives, or ended lately, is kept."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

import pytest
from sqlalchemy import func, select

from pileus.clock import utcnow
from pileus.cloud import purge
from pileus.db import Database
from pileus.operations import OperationRow, StepRow, retention
from pileus.operations.retention import forget

DAY_S = 86400.0


def add(db: Database, ended: Mapping[str, datetime | None]) -> None:
    """Operations of one step each, and when they ended."""
    now = utcnow()
    with db.write() as session:
        for name, finished_at in ended.items():
            about = {"request_id": "r", "kind": "t", "subject_id": name, "arguments": {}, "created_at": now}
            row = OperationRow(id=name, state="succeeded", finished_at=finished_at, **about)
            step = {"position": 0, "name": "one", "key": "one", "outcome": "finished", "attempt": 1}
            session.add_all([row, StepRow(operation=row, started_at=now, **step)])


def test_old_operations_go_with_their_steps(db: Database) -> None:
    now = utcnow()
    add(db, {"old": now - timedelta(days=3), "young": now - timedelta(hours=1), "live": None})
    with db.write() as session:
        assert forget(session, OperationRow.finished_at, DAY_S) == 1
    with db.write() as session:
        assert forget(session, OperationRow.finished_at, DAY_S) == 0
        assert set(session.scalars(select(OperationRow.id))) == {"young", "live"}
        assert session.scalar(select(func.count()).select_from(StepRow)) == 2


def test_the_purge_is_many_small_transactions(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Others write between them, and it ends when it is told."""
    monkeypatch.setattr(retention, "AT_ONCE", 2)
    add(db, {f"old {n}": utcnow() - timedelta(days=3) for n in range(7)})
    left: list[int] = []

    def enough() -> bool:
        with db.write() as session:
            left.append(session.scalar(select(func.count()).select_from(OperationRow)) or 0)
        return left[-1] <= 3

    assert purge(db, DAY_S, 0.0, enough) == 4
    assert left == [7, 5, 3]
    assert purge(db, DAY_S, DAY_S) == 3
