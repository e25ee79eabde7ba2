"""Live migrations whose hosts say what makes no sense: that is their command's failure, and nothing of it is kept."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sqlalchemy import select

from pileus import clock
from pileus.agent.commands import ArriveGuest, AwaitGuest, DepartGuest, Failure, MigrateGuest, StayGuest
from pileus.operations import StepRow
from tests.unit.compute.servers.live_world import LiveWorld, world
from tests.unit.operations.world import FakeClock

__all__ = ["world"]

LONG = "x" * 100_000
ROOT = {"name": "disk", "target": "vda", "format": "qcow2", "size": 1}


def longest_result(world: LiveWorld) -> int:
    with world.serving.db.read() as session:
        return max(len(json.dumps(row.result)) for row in session.scalars(select(StepRow)))


@pytest.mark.parametrize(
    "departure",
    [
        {"power_state": {}}, {"power_state": 10**30}, {"disks": 7}, {"disks": [ROOT] * 9}, {"base": "x" * 300},
        {"cpu": LONG}, {"cpu": "a\0b"}, {"disks": [ROOT | {"size": 2**62}]}, {"disks": [ROOT | {"name": "../x"}]},
        {"disks": [ROOT | {"name": "disk.swap", "size": 2**20}]},
    ],
)  # fmt: skip
def test_a_departure(world: LiveWorld, departure: Any) -> None:
    world.results[DepartGuest] = {"power_state": 1} | departure
    world.migrate()
    assert world.status() == ("ACTIVE", world.source, "error")
    assert "MigrateGuest" not in {name for name, _, _ in world.commands()}


@pytest.mark.parametrize(
    "arrival", [{"owner": 5}, {"block": "yes"}, {"name": "a\0b"}, {"directory": LONG}, {"name": LONG}]
)
def test_an_arrival(world: LiveWorld, arrival: Any) -> None:
    world.results[AwaitGuest] = arrival
    world.migrate()
    assert world.status() == ("ACTIVE", world.source, "error") and longest_result(world) < 2000
    assert "DiscardGuest dest" in world.names()


def test_what_is_said_beside_is_dropped(world: LiveWorld) -> None:
    beside = {str(number): "y" * 1000 for number in range(100)}
    for kind in (DepartGuest, AwaitGuest, ArriveGuest):
        world.results[kind] = {**(world.results[kind] or {}), **beside}  # type: ignore[dict-item]
    world.results[MigrateGuest] = beside
    world.migrate()
    assert world.status() == ("ACTIVE", world.other, "completed") and longest_result(world) < 2000


@pytest.mark.parametrize("power_state", ["evil", 10**30, {}, 999, None, -1, 2, True])
def test_an_arriving(world: LiveWorld, power_state: Any) -> None:
    """The server is there, whatever its host says of it; to let it run is owed."""
    world.results[ArriveGuest] = {"complete": True, "power_state": power_state}
    world.migrate()
    assert world.status() == ("ACTIVE", world.other, "completed")
    assert world.show(world.admin)["OS-EXT-STS:power_state"] == 1
    assert "DiscardGuest source" in world.names()


def test_hosts_that_do_not_answer_are_asked_seldom(world: LiveWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or the journal would grow by four steps every 30 seconds for as long as they are."""
    away = Failure(code="host-down", message="The host does not answer.")
    world.results |= {MigrateGuest: away, StayGuest: {"here": "?"}, ArriveGuest: away}
    fake_clock = FakeClock(world.serving.db)
    monkeypatch.setattr(clock, "current", fake_clock)
    world.migrate()
    for _ in range(240):
        world.wait(fake_clock, 30.0)
    assert world.status()[2] == "running" and 5 < world.names().count("StayGuest source") < 20, "in two hours"
    world.results[StayGuest] = {"here": True, "power_state": 1}
    world.wait(fake_clock)
    assert world.status() == ("ACTIVE", world.source, "error")
