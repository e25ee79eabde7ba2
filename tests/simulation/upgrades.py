"""A flow in two releases, played by replicas of either: what is in flight ends as it was begun, or is undone."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from contextlib import suppress

from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from pileus.api.quota import QuotaRow
from pileus.db import Database, Session
from pileus.operations import Operation, OperationRow, Origin, flows, recorded, start
from pileus.operations.flow import Flow
from tests.simulation.dice import Dice

KIND = "simulation.trip"
STEPS = {1: ("pack", "ride", "arrive"), 2: ("book", "pack", "ride", "arrive")}
"""What the trip consists of in each release. Release 2 puts a step in front, and its author forgot to raise the flow's
version: only the keys tell."""


def _count(session: Session, trip: str, step: str, by: int) -> None:
    row = session.get(QuotaRow, (trip, "simulation", step), with_for_update=True)
    if row is None:
        session.add(QuotaRow(project_id=trip, service="simulation", resource=step, hard_limit=by))
    else:
        row.hard_limit += by


def take(session: Session, trip: str, step: str) -> None:
    """A step's effect: counted, so that one that happens twice is seen."""
    _count(session, trip, step, 1)


@recorded("simulation: take back")
def take_back(session: Session, trip: str, step: str) -> None:
    """The effect is undone."""
    _count(session, trip, step, -1)


def _release(number: int) -> Callable[..., None]:
    def run(op: Operation, trip: str) -> None:
        for step in STEPS[number]:
            op.step(step, take, trip, step, undo=take_back.owed(trip=trip, step=step))

    return run


def install(release: int) -> None:
    """Have this process be of a release, as far as the trip goes."""
    with suppress(KeyError):
        flows.remove(KIND)
    flows.add(Flow(KIND, 1, _release(release), None, None, None))


class Trips:
    """Asks for trips, and looks what came of them."""

    def __init__(self, db: Database, dice: Dice) -> None:
        self._db = db
        install(1)

    def ask(self) -> None:
        trip = str(uuid.uuid4())
        with suppress(OperationalError), self._db.write() as session:
            start(session, KIND, trip, Origin("req-trip", None, None), trip=trip)

    def check(self) -> None:
        """Each trip happened as one release has it, every step once, or not at all."""
        with self._db.read() as session:
            ended = session.scalars(select(OperationRow).where(OperationRow.kind == KIND)).all()
            for row in ended:
                query = select(QuotaRow).where(QuotaRow.project_id == row.subject_id)
                counted = {one.resource: one.hard_limit for one in session.scalars(query) if one.hard_limit}
                done = [dict.fromkeys(steps, 1) for steps in STEPS.values()]
                wanted = done if row.state == "succeeded" else [{}]
                assert counted in wanted, f"a trip that {row.state} left {counted}"
