"""Tests of faults know every step of a move: what they name is what the journal has of one in which nothing fails."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import select

from pileus.operations import OperationRow, StepRow
from pileus.operations.start import ACCEPT
from tests.client import Client
from tests.steps import STEPS
from tests.unit.compute.servers.live_world import LiveWorld
from tests.unit.compute.servers.lost import Lost
from tests.unit.compute.servers.shelf import Shelf
from tests.unit.compute.servers.world import World
from tests.unit.serving import Serving


def journaled(serving: Serving, done: Callable[[], object]) -> tuple[str, ...]:
    """The steps of the operations that begin while something is done, without those of the request itself."""
    rows = (
        select(StepRow.operation_id, StepRow.name)
        .join(OperationRow, OperationRow.id == StepRow.operation_id)
        .where(StepRow.position != ACCEPT)
        .order_by(OperationRow.created_at, StepRow.position)
    )
    with serving.db.read() as session:
        before = set(session.scalars(select(OperationRow.id)))
    done()
    with serving.db.read() as session:
        return tuple(name for operation_id, name in session.execute(rows) if operation_id not in before)


@pytest.mark.parametrize(("flow", "key"), [("confirm", "confirmResize"), ("revert", "revertResize")])
def test_a_resize_and_its_end(world: World, flow: str, key: str) -> None:
    assert journaled(world.serving, world.resize) == STEPS["resize"]
    assert journaled(world.serving, lambda: world.done(key)) == STEPS[flow]


def test_shelving_and_its_end(shelf: Shelf) -> None:
    assert journaled(shelf.serving, lambda: shelf.act("shelve")) == STEPS["shelve"]
    assert journaled(shelf.serving, lambda: shelf.act("unshelve")) == STEPS["unshelve"]


def test_a_live_migration(serving: Serving, admin: Client, demo: Client, boot: Callable[..., str]) -> None:
    world = LiveWorld(serving, admin, demo, boot)
    assert journaled(serving, world.migrate) == STEPS["live"]


def test_an_evacuation(serving: Serving, admin: Client, demo: Client, boot: Callable[..., str]) -> None:
    lost = Lost(serving, admin, demo, boot)
    assert journaled(serving, lost.evacuate) == STEPS["evacuate"]
