"""Flows of the simulation's own, whose every effect is counted.

A trip comes in two releases, played by replicas of either: what is in flight ends as it was begun, or is undone. An
errand waits for a time, passes a point of no return, and has two subjects to itself.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from typing import Any

from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from pileus.api.quota import QuotaRow
from pileus.cloud import registry
from pileus.db import Database, Session
from pileus.errors import Conflict
from pileus.operations import CommandError, Flow, Operation, OperationRow, Origin, recorded
from pileus.operations.start import start
from tests.simulation.dice import Dice

KIND, ERRAND = "simulation.trip", "simulation.errand"
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


REGISTRY = registry()
"""What every replica knows; which release of the trip, `install` says."""


def install(release: int) -> None:
    """Have this process be of a release, as far as the trip goes."""
    for flow in _flows(release):
        with suppress(KeyError):
            REGISTRY.remove(flow.kind.name)
        REGISTRY.add(flow)


@cache
def _flows(release: int) -> tuple[Flow[Any], ...]:
    return Flow(KIND, _release(release)), Flow(ERRAND, errand)


def errand(op: Operation, trip: str, fails: bool) -> None:
    """Two effects around a wait; nothing is taken back once the second has happened."""
    op.step("one", take, trip, "one", undo=take_back.owed(trip=trip, step="one"))
    op.sleep("wait", 30.0)
    op.step("two", take, trip, "two", undo=take_back.owed(trip=trip, step="two"), forward=True)
    if fails:
        raise CommandError("no", "the errand fails in the end")
    op.step("three", take, trip, "three", last=True)


class Trips:
    """Asks for trips and errands, and looks what came of them."""

    def __init__(self, db: Database, dice: Dice) -> None:
        self._db, self._dice = db, dice
        install(1)

    def ask(self) -> None:
        trip, origin = str(uuid.uuid4()), Origin("req-trip", None, None)
        with suppress(OperationalError, Conflict), self._db.write() as session:
            if self._dice.chance(0.5):
                REGISTRY.newest(KIND).start(session, origin, trip)
            else:
                also = [self._dice.pick(("left hand", "right hand"))]
                flow = REGISTRY.newest(ERRAND)
                start(session, flow.kind, origin, flow.arguments(trip, self._dice.chance(0.3)), also=also)

    def check(self) -> None:
        """Each happened as one release has it, every step once, or not at all."""
        with self._db.read() as session:
            for row in session.scalars(select(OperationRow).where(OperationRow.kind.in_((KIND, ERRAND)))):
                query = select(QuotaRow).where(QuotaRow.project_id == row.subject_id)
                counted = {one.resource: one.hard_limit for one in session.scalars(query) if one.hard_limit}
                assert counted in _allowed(row), f"a {row.kind} that {row.state} left {counted}"


def _allowed(row: OperationRow) -> list[dict[str, int]]:
    """What may have happened once each when it ended like this."""
    if row.kind == ERRAND:
        return [dict.fromkeys(("one", "two") if row.arguments["fails"] else ("one", "two", "three"), 1)]
    return [dict.fromkeys(steps, 1) for steps in STEPS.values()] if row.state == "succeeded" else [{}]
