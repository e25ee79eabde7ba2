"""A cloud at one moment: in numbers, and with as many rows as there is room for."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import update

from pileus.compute import overview
from pileus.compute.model import Host
from pileus.db import utcnow
from pileus.operations import OperationRow, debts
from pileus.operations.owed import Owed
from tests.unit.compute.world import World, host_report
from tests.unit.nouns import Nouns
from tests.unit.operations.rows import add_operation


def test_what_is_under_way_is_shown_with_its_step(nouns: Nouns) -> None:
    add_operation(nouns.serving.db, "migrate", [("schedule", "finished"), ("copy", "begun")])
    add_operation(nouns.serving.db, "boot", [("schedule", "finished")])
    add_operation(nouns.serving.db, "stop", [("power off", "finished")], ended=True)
    with nouns.serving.db.write() as session:
        debts.owe(session, "h", "of-gone", Owed("discard", {}))
        session.execute(update(Host).values(last_seen=utcnow() - timedelta(minutes=5)))
    with nouns.serving.db.read() as session:
        found = overview.read(session, 10)
    assert {(one.kind, one.step) for one in found.work} == {("migrate", "copy"), ("boot", "after schedule")}
    assert (found.work_count, found.debt_count, found.up) == (2, 1, 0)
    assert found.per_s == 1 / overview.LATELY_S
    assert [one.state for one in found.hosts] == ["down"] * found.host_count and found.hosts[0].heard_s >= 299


def test_no_more_is_read_than_there_is_room_for(nouns: Nouns) -> None:
    for number in range(5):
        add_operation(nouns.serving.db, f"boot-{number}", [])
    with nouns.serving.db.read() as session:
        found = overview.read(session, 2)
    assert (len(found.work), found.work_count) == (2, 5)


def test_the_numbers(world: World) -> None:
    """A host that is silent is not up; an operation that failed without a defect is none of ours."""
    world.report(host_report("a"), host_report("b"))
    for vm_state in ("active", "error", "error"):
        world.servers(1, vm_state=vm_state)
    world.servers(1, vm_state="deleted", deleted_at=utcnow())
    add_operation(world.db, "boot", [("schedule", "finished")])
    for name, error in (("stop", None), ("start", {"defect": "d"}), ("pause", {"message": "m"})):
        add_operation(world.db, name, [], ended=True)
        end = update(OperationRow).where(OperationRow.id == name).values(error=error)
        world.write(lambda session, end=end: session.execute(end))
    silent = update(Host).where(Host.name == "b").values(last_seen=utcnow() - timedelta(minutes=5))
    world.write(lambda session: session.execute(silent))
    with world.db.read() as session:
        found = overview.summary(session)
        assert [row.id for row in found.defects] == ["start"]
    assert (found.host_count, found.up, found.kinds) == (2, 1, ["fake"])
    assert (found.servers, found.work_count) == ({"active": 1, "error": 2}, 1)
