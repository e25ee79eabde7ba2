"""What is late touches no newer guest, and what is older makes way."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from pileus.agent.commands import (
    AttachPort,
    BuildGuest,
    Command,
    DetachPort,
    DiscardGuest,
    DropStash,
    PauseGuest,
    ReceiveGuest,
    RestoreGuest,
    ResumeGuest,
    SnapshotGuest,
    StartGuest,
    StashGuest,
    StopGuest,
    UpdateInstanceData,
)
from pileus.agent.journal import Known
from pileus.agent.timeline import Timeline
from tests.unit.agent.desk import Desk
from tests.unit.agent.specs import PORT, SERVER, guest, wiring


def test_a_late_build_after_its_discard_is_refused(desk: Desk) -> None:
    assert desk.carry_out(DiscardGuest(server_id=SERVER, incarnation=1), "boot:0:undo").failure is None
    failure = desk.carry_out(BuildGuest(guest=guest(incarnation=1)), "late:0").failure
    assert failure is not None and failure.code == "stale" and desk.guests() == {}
    assert desk.carry_out(BuildGuest(guest=guest(incarnation=2)), "next:0").failure is None
    assert desk.guests() == {SERVER: 1}


def test_a_late_discard_of_an_older_incarnation_leaves_the_newer_guest(desk: Desk) -> None:
    desk.carry_out(BuildGuest(guest=guest(incarnation=2)), "boot:0")
    answer = desk.carry_out(DiscardGuest(server_id=SERVER, incarnation=1), "late:0")
    assert answer.failure is None and [event.name for event in answer.events] == ["newer guest"]
    assert answer.events[0].detail == {"incarnation": 2}
    assert desk.guests() == {SERVER: 1} and desk.journal.known("fake-1", SERVER) == Known(2, False)
    assert desk.carry_out(DiscardGuest(server_id=SERVER, incarnation=2), "delete:0").failure is None
    assert desk.guests() == {}


def test_a_build_of_a_newer_incarnation_removes_the_older_guest_first(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    happened: list[str] = []
    build, discard = desk.hypervisor.build, desk.hypervisor.discard

    def built(host: str, command: BuildGuest, timeline: Timeline) -> Any:
        happened.append(f"build {command.age}")
        return build(host, command, timeline)

    def discarded(host: str, command: DiscardGuest, timeline: Timeline) -> None:
        happened.append(f"discard {command.age}")
        discard(host, command, timeline)

    monkeypatch.setattr(desk.hypervisor, "build", built)
    monkeypatch.setattr(desk.hypervisor, "discard", discarded)
    for incarnation in (1, 2, 2):
        assert desk.carry_out(BuildGuest(guest=guest(incarnation=incarnation)), f"op{len(happened)}:0").failure is None
    assert happened == ["build 1", "discard 1", "build 2", "build 2"]
    assert desk.journal.known("fake-1", SERVER) == Known(2, False)


@pytest.mark.parametrize(
    "news",
    [
        UpdateInstanceData(guest=guest(incarnation=2)),
        AttachPort(guest=guest(incarnation=2), port_id=PORT),
        DetachPort(guest=guest(incarnation=2), port=wiring()),
    ],
    ids=lambda news: type(news).__name__,
)
def test_news_for_a_guest_that_is_being_rebuilt_do_not_pass_for_the_rebuild(desk: Desk, news: Command) -> None:
    """They are owed, and come at any time."""
    desk.carry_out(BuildGuest(guest=guest(incarnation=1)), "boot:0")
    assert desk.carry_out(news, "news:0").failure is None
    assert desk.journal.known("fake-1", SERVER) == Known(1, False)
    assert desk.carry_out(PauseGuest(server_id=SERVER, incarnation=2), "pause:0").failure is None
    assert desk.journal.known("fake-1", SERVER) == Known(2, False), "only an operation that is alone says which it is"


@pytest.mark.parametrize(
    "command",
    [
        BuildGuest(guest=guest(incarnation=1)),
        StartGuest(guest=guest(incarnation=1)),
        StopGuest(server_id=SERVER, incarnation=1),
        PauseGuest(server_id=SERVER, incarnation=1),
        ResumeGuest(guest=guest(incarnation=1)),
        SnapshotGuest(server_id=SERVER, incarnation=1, image_id="i", location="file:///i"),
        AttachPort(guest=guest(incarnation=1), port_id=PORT),
        UpdateInstanceData(guest=guest(incarnation=1)),
    ],
    ids=lambda command: type(command).__name__,
)
def test_what_is_late_does_not_touch_a_newer_guest(desk: Desk, command: Command) -> None:
    desk.carry_out(BuildGuest(guest=guest(incarnation=2)), "boot:0")
    failure = desk.carry_out(command, "late:0").failure
    assert failure is not None and failure.code == "stale" and desk.guests() == {SERVER: 1}


def test_instance_data_of_a_discarded_guest_does_not_come_back(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[int] = []
    monkeypatch.setattr(desk.hypervisor, "update_data", lambda host, command, timeline: told.append(command.age))
    desk.carry_out(BuildGuest(guest=guest(incarnation=1)), "boot:0")
    desk.carry_out(UpdateInstanceData(guest=guest(incarnation=1)), "data:0")
    desk.carry_out(DiscardGuest(server_id=SERVER, incarnation=1), "delete:0")
    failure = desk.carry_out(UpdateInstanceData(guest=guest(incarnation=1)), "data:1").failure
    assert failure is not None and failure.code == "stale" and told == [1]


def test_a_discard_of_an_older_incarnation_does_not_let_a_discarded_one_be_built(desk: Desk) -> None:
    desk.carry_out(DiscardGuest(server_id=SERVER, incarnation=5), "a:0")
    desk.carry_out(DiscardGuest(server_id=SERVER, incarnation=3), "b:0")
    failure = desk.carry_out(BuildGuest(guest=guest(incarnation=4)), "late:0").failure
    assert failure is not None and failure.code == "stale" and desk.guests() == {}


def test_incarnations_are_remembered_over_a_restart(desk: Desk, tmp_path: Path) -> None:
    desk.carry_out(DiscardGuest(server_id=SERVER, incarnation=1), "boot:0:undo")
    with closing(Desk(tmp_path)) as again:
        again.read = again.journal.last()
        failure = again.carry_out(BuildGuest(guest=guest(incarnation=1)), "late:0").failure
    assert failure is not None and failure.code == "stale"


# --- moves ------------------------------------------------------------------------------------------------------------


def moved(desk: Desk) -> None:
    """A guest was set aside, and goes on on the same host."""
    desk.carry_out(BuildGuest(guest=guest(incarnation=1, ports=())), "op:0")
    desk.carry_out(StashGuest(server_id=SERVER, incarnation=2), "op:1")
    received = ReceiveGuest(
        guest=guest(incarnation=3, ports=()), source="fake-1", address="", set_aside=2, files=("disk",), run=True
    )
    assert desk.carry_out(received, "op:2").failure is None


def test_what_goes_on_from_what_was_set_aside_leaves_that(desk: Desk) -> None:
    moved(desk)
    restore = RestoreGuest(guest=guest(incarnation=4, ports=()), set_aside=2, run=True)
    early = desk.carry_out(restore, "early:0")
    assert early.failure is not None and early.failure.code == "busy"
    desk.carry_out(DiscardGuest(server_id=SERVER, incarnation=3, stash=False), "op:3")
    assert desk.carry_out(restore, "op:4").result == {"power_state": 1}
    assert desk.journal.known("fake-1", SERVER) == Known(4, False)
    late = desk.carry_out(StashGuest(server_id=SERVER, incarnation=2), "op:5")
    assert late.failure is not None and late.failure.code == "stale" and desk.guests() == {SERVER: 1}


def test_what_is_built_afresh_makes_what_was_set_aside_go(desk: Desk) -> None:
    moved(desk)
    desk.carry_out(DiscardGuest(server_id=SERVER, incarnation=3, stash=False), "op:3")
    desk.carry_out(BuildGuest(guest=guest(incarnation=5, ports=())), "op:4")
    desk.carry_out(StopGuest(server_id=SERVER, incarnation=5), "op:5")
    answer = desk.carry_out(RestoreGuest(guest=guest(incarnation=6, ports=()), set_aside=5, run=True), "op:6")
    assert answer.result == {"power_state": 4}, "there was nothing to be restored"


def test_what_was_set_aside_goes_without_the_guest_that_took_its_place(desk: Desk) -> None:
    moved(desk)
    assert desk.carry_out(DropStash(server_id=SERVER, incarnation=2), "op:3").failure is None
    assert desk.guests() == {SERVER: 1} and desk.journal.known("fake-1", SERVER) == Known(3, False)


def test_what_was_set_aside_goes_with_all_that_is_left(desk: Desk) -> None:
    desk.carry_out(BuildGuest(guest=guest(incarnation=1, ports=())), "op:0")
    desk.carry_out(StashGuest(server_id=SERVER, incarnation=2), "op:1")
    desk.carry_out(DropStash(server_id=SERVER, incarnation=2), "op:2")
    assert desk.guests() == {} and desk.journal.known("fake-1", SERVER) == Known(2, True)
