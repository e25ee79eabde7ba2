"""Live migration of simulated guests, between hosts of one agent and of two."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from pileus.agent.commands import (
    Arrival,
    ArriveGuest,
    AwaitGuest,
    BuildGuest,
    DepartGuest,
    Departure,
    DiscardGuest,
    MigrateGuest,
    PauseGuest,
    StayGuest,
    StopGuest,
)
from pileus.agent.errors import CommandFailed
from pileus.agent.hypervisor.fake import FakeHypervisor
from pileus.agent.network.fake import FakeNetwork
from pileus.agent.timeline import Timeline
from tests.support import eventually
from tests.unit.agent.desk import Desk, parcel
from tests.unit.agent.specs import SERVER, guest

ONE, TWO = "fake-1", "fake-2"
LOOK = ArriveGuest(server_id=SERVER, incarnation=2)


class Ward:
    """Two hosts of one agent, and a guest that runs on the first."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.hypervisor = FakeHypervisor(state, FakeNetwork(), 2)
        self.hypervisor.start(lambda *news: None)
        self.do(ONE, BuildGuest(guest=guest(ports=())))

    def do(self, host: str, command: Any, timeline: Timeline | None = None) -> Any:
        return getattr(self.hypervisor, command.method)(host, command, timeline or Timeline())

    def behave(self, **how: Any) -> None:
        (self.state / "fake" / "behaviour.json").write_text(json.dumps(how))

    def prepare(self, block: bool | None = None, **how: Any) -> MigrateGuest:
        departure = self.do(ONE, DepartGuest(server_id=SERVER, incarnation=1, to=TWO))
        going = msgspec.convert(departure, Departure)
        spec = replace(guest(ports=()), incarnation=2)
        arrival = self.do(TWO, AwaitGuest(guest=spec, source=ONE, address="", departure=going, block=block))
        fields: dict[str, Any] = {"run": True, "arrival": msgspec.convert(arrival, Arrival)} | how
        return MigrateGuest(server_id=SERVER, incarnation=1, to=TWO, address="", departure=going, **fields)

    def states(self) -> dict[str, int | None]:
        return {one.name: found.power_state for one in self.hypervisor.reports() for found in one.guests}


@pytest.fixture
def ward(tmp_path: Path) -> Ward:
    return Ward(tmp_path)


def test_a_guest_goes_and_runs_only_once(ward: Ward) -> None:
    command = ward.prepare()
    assert ward.states() == {ONE: 1, TWO: None}
    assert ward.do(TWO, LOOK) == {"complete": False}
    assert [ward.do(ONE, command) for _ in range(2)] == [None, None]
    assert ward.states() == {TWO: 3} and ward.do(ONE, StayGuest(server_id=SERVER, incarnation=1)) == {"here": False}
    assert ward.do(TWO, LOOK) == {"complete": True, "power_state": 3}
    assert ward.do(TWO, replace(LOOK, run=True)) == {"complete": True, "power_state": 1}
    ward.do(TWO, DiscardGuest(server_id=SERVER))
    assert ward.states() == {}


def test_what_does_not_run_stays(ward: Ward) -> None:
    ward.do(ONE, PauseGuest(server_id=SERVER))
    assert ward.prepare().departure.power_state == 3
    ward.do(ONE, StopGuest(server_id=SERVER))
    with pytest.raises(CommandFailed, match="does not run"):
        ward.prepare()


def test_storage(ward: Ward) -> None:
    assert ward.prepare().arrival.block
    with pytest.raises(CommandFailed, match="is not on storage"):
        ward.prepare(block=False)
    ward.behave(shared=True)
    assert not ward.prepare().arrival.block
    with pytest.raises(CommandFailed, match="is on storage"):
        ward.prepare(block=True)


@pytest.mark.parametrize(
    ("forced", "how", "code"),
    [
        (True, {}, ""),
        (False, {"timeout_s": 0.1}, "timeout"),
        (False, {"timeout_s": 0.1, "force": True}, ""),
    ],
    ids=["forced", "late", "late and held"],
)
def test_how_it_ends(ward: Ward, forced: bool, how: dict[str, Any], code: str) -> None:
    ward.behave(migrate_s=3600)
    command = ward.prepare(**how)
    if forced:
        ward.hypervisor.force_migration(ONE, SERVER, 1)
    told: list[str] = []
    try:
        ward.do(ONE, command, Timeline(lambda stage, done, total: told.append(stage)))
        ended = ""
    except CommandFailed as error:
        ended = error.code
    assert ended == code and (ONE in ward.states()) == bool(code)
    if code:
        assert ward.do(ONE, StayGuest(server_id=SERVER, incarnation=1, run=True)) == {"here": True, "power_state": 1}


def test_of_a_guest_of_another_agent_all_is_taken_to_be_there(ward: Ward, tmp_path: Path) -> None:
    command = ward.prepare()
    other = FakeHypervisor(tmp_path / "other", FakeNetwork(), 1, suffix=".other")
    other.start(lambda *news: None)
    spec = replace(guest(ports=()), incarnation=2)
    awaited = AwaitGuest(guest=spec, source=ONE, address="", departure=command.departure)
    other.await_guest("fake-1.other", awaited, Timeline())
    ward.do(ONE, replace(command, to="fake-1.other"))
    found = other.arrive("fake-1.other", replace(LOOK, run=True), Timeline())
    assert found == {"complete": True, "power_state": 1}
    assert other.arrive("fake-1.other", LOOK, Timeline()) == {"complete": True, "power_state": 1}


def leaving(desk: Desk, incarnation: int = 1) -> MigrateGuest:
    """What moves a guest that is about to leave."""
    desk.carry_out(DepartGuest(server_id=SERVER, incarnation=incarnation, to=TWO), f"depart{incarnation}:0")
    return MigrateGuest(
        server_id=SERVER,
        incarnation=incarnation,
        to=TWO,
        address="",
        arrival=Arrival(),
        departure=Departure(),
        run=True,
    )


def test_one_that_was_aborted_does_not_begin(desk: Desk) -> None:
    """What moves it was sent before it was aborted, and comes later."""
    desk.carry_out(BuildGuest(guest=guest(ports=())), "boot:0")
    command = leaving(desk)
    assert desk.carry_out(StayGuest(server_id=SERVER, incarnation=1, run=True), "abort:0").result["here"]
    moved = desk.carry_out(command, "move:0")
    assert moved.failure is not None and moved.failure.code == "abandoned" and desk.guests() == {SERVER: 1}
    again = leaving(desk, 2)
    late = desk.carry_out(StayGuest(server_id=SERVER, incarnation=1, run=True), "late:0")
    assert late.failure is not None and late.failure.code == "stale", "it ends nothing but its own"
    assert desk.carry_out(again, "move:1").failure is None and desk.guests() == {}


def test_who_stays_does_not_wait_for_the_end(desk: Desk) -> None:
    """The command that asks about a guest ends the one that moves it."""
    desk.carry_out(BuildGuest(guest=guest(ports=())), "boot:0")
    command = leaving(desk)
    (Path(desk.hypervisor._root) / "behaviour.json").write_text(json.dumps({"migrate_s": 3600}))
    begun = threading.Event()
    inner = desk.hypervisor._move

    def move(*arguments: Any) -> None:
        begun.set()
        inner(*arguments)

    desk.hypervisor._move = move  # type: ignore[method-assign]
    desk.executor.submit(parcel(command, "move:0", deadline_s=9000))
    eventually(begun.is_set, 60, "its beginning")
    desk.executor.submit(parcel(StayGuest(server_id=SERVER, incarnation=1), "move:1"))
    moved, stayed = desk.next_answer(), desk.next_answer()
    assert moved.key == "move:0" and moved.failure is not None and moved.failure.code == "abandoned"
    assert stayed.failure is None and stayed.result["here"] is True
