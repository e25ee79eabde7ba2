"""Commands are carried out once each, in order for each guest, and answered from the journal when they come again."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from pileus.agent.commands import (
    CODE_CHARS,
    MESSAGE_CHARS,
    MOST_ENTRY_BYTES,
    MOST_FEED_BYTES,
    Answer,
    BuildGuest,
    DiscardGuest,
    StartGuest,
    StopGuest,
    UpdateInstanceData,
)
from pileus.agent.errors import CommandFailed
from pileus.agent.timeline import Timeline
from tests.unit.agent.desk import Desk, Gate, parcel, stop
from tests.unit.agent.specs import SERVER, guest


def test_a_guest_is_built_and_discarded(desk: Desk) -> None:
    spec = guest()
    desk.submit(BuildGuest(guest=spec), "op:0")
    answer = desk.next_answer()
    assert answer.failure is None and answer.result == {"power_state": 1} and answer.host == "fake-1"
    names = [event.name for event in answer.events]
    assert names[0] == "prepare network" and names[-1] == "running" and "plug port" in names
    assert desk.guests() == {spec.server_id: 1}
    desk.submit(DiscardGuest(server_id=spec.server_id), "op:1")
    assert desk.next_answer().failure is None
    assert desk.guests() == {}


def test_a_repeated_command_gets_the_recorded_answer(desk: Desk) -> None:
    spec = guest()
    command = parcel(BuildGuest(guest=spec))
    desk.executor.submit(command)
    first = desk.next_answer()
    desk.hypervisor.discard("fake-1", DiscardGuest(server_id=spec.server_id), Timeline())
    desk.executor.submit(command)
    assert desk.next_answer() == first
    assert desk.guests() == {}, "it was answered, not carried out again"


def test_a_command_that_comes_again_while_it_is_carried_out_is_carried_out_once(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(monkeypatch, desk.hypervisor, "build")
    desk.submit(BuildGuest(guest=guest()))
    assert gate.entered.wait(60)
    for attempt in (1, 2):
        desk.submit(BuildGuest(guest=guest()), attempt=attempt)
    gate.opened.set()
    assert desk.next_answer().failure is None
    desk.carry_out(stop(), "other:0")
    assert desk.nothing_more()


def test_an_answer_outlives_the_agent(desk: Desk, tmp_path: Path) -> None:
    first = desk.carry_out(stop(), "op:0")
    with closing(Desk(tmp_path)) as again:
        again.read = again.journal.last()
        assert again.carry_out(stop(), "op:0") == first


def test_a_stale_attempt_is_ignored(desk: Desk) -> None:
    desk.carry_out(stop(), "op:1", attempt=3)
    desk.submit(BuildGuest(guest=guest()), "op:0", attempt=2)
    desk.carry_out(stop("q"), "other:0")
    assert desk.guests() == {} and desk.nothing_more()


def test_what_a_driver_refuses_is_answered_with_its_reason(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "fake" / "behaviour.json").write_text('{"fail_build": {"fake-1": "the disk is broken"}}')
    failure = desk.carry_out(BuildGuest(guest=guest()), "op:0").failure
    assert failure is not None and (failure.code, failure.message) == ("hypervisor", "the disk is broken")


def test_a_defect_of_a_driver_is_answered_without_its_insides(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: object) -> None:
        raise ZeroDivisionError("secret path")

    monkeypatch.setattr(desk.hypervisor, "update_data", broken)
    failure = desk.carry_out(UpdateInstanceData(guest=guest()), "op:0").failure
    assert failure is not None and failure.code == "internal" and "secret" not in failure.message


def test_whatever_a_driver_says_is_told_in_few_printable_words(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """libvirt and other hosts say what they like."""

    def refuses(*arguments: object) -> None:
        raise CommandFailed("c" * 1000, "\0" + "M" * MOST_ENTRY_BYTES)

    monkeypatch.setattr(desk.hypervisor, "update_data", refuses)
    failure = desk.carry_out(UpdateInstanceData(guest=guest()), "op:0").failure
    assert failure is not None and failure.message.isprintable()
    assert len(failure.code) < 2 * CODE_CHARS and len(failure.message) < 2 * MESSAGE_CHARS


def test_an_answer_that_no_replica_would_take_is_a_failure(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desk.hypervisor, "update_data", lambda *arguments: {"files": "x" * MOST_ENTRY_BYTES})
    answer = desk.carry_out(UpdateInstanceData(guest=guest()), "op:0")
    assert answer.failure is not None and answer.failure.code == "internal" and answer.result == {}


def test_a_replica_is_told_no_more_than_it_takes_at_a_time(desk: Desk) -> None:
    long = "x" * (MOST_ENTRY_BYTES // 2)
    for number in range(40):
        desk.journal.record(Answer(key=f"op{number}:0", host="fake-1", result={"files": long}))
    told: list[str] = []
    while entries := desk.journal.feed(desk.read, wait_s=0):
        assert len(msgspec.json.encode(entries)) < MOST_FEED_BYTES
        desk.read = entries[-1].sequence
        told += [entry.answer.key for entry in entries if entry.answer]
    assert told == [f"op{number}:0" for number in range(40)]


def test_a_command_that_is_not_known_is_answered_and_can_be_asked_for_again(desk: Desk) -> None:
    for unknown in (b'{"type": "MigrateGuest", "server_id": "s"}', b'{"type": "StopGuest"}', b"[]"):
        for _ in range(2):
            desk.executor.submit(parcel(unknown, f"op:{len(unknown)}"))
            failure = desk.next_answer().failure
            assert failure is not None and failure.code == "unsupported" and "fake-1" in failure.message


def test_discard_waits_for_the_build_and_cuts_it_short(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = guest()
    gate = Gate(monkeypatch, desk.hypervisor, "build")
    desk.submit(BuildGuest(guest=spec), "boot:0")
    assert gate.entered.wait(60)
    desk.submit(DiscardGuest(server_id=spec.server_id), "boot:0:undo")
    gate.opened.set()
    built, discarded = desk.next_answer(), desk.next_answer()
    assert built.failure is not None and built.failure.code == "abandoned"
    assert discarded.key == "boot:0:undo" and discarded.failure is None
    assert desk.guests() == {}


def test_commands_about_one_guest_keep_their_order(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(monkeypatch, desk.hypervisor, "build")
    desk.submit(BuildGuest(guest=guest()), "a:0")
    assert gate.entered.wait(60)
    desk.submit(StopGuest(server_id=SERVER), "b:0")
    desk.submit(StartGuest(guest=guest()), "c:0")
    desk.submit(StopGuest(server_id=SERVER), "d:0")
    gate.opened.set()
    assert [desk.next_answer().key for _ in range(4)] == ["a:0", "b:0", "c:0", "d:0"]
    assert desk.guests() == {SERVER: 4}


def test_other_subjects_do_not_wait(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(monkeypatch, desk.hypervisor, "build")
    desk.submit(BuildGuest(guest=guest()), "slow:0")
    desk.submit(stop("other"), "quick:0")
    assert desk.next_answer().key == "quick:0"
    gate.opened.set()
    assert desk.next_answer().key == "slow:0"


def test_an_abandoned_timeline_begins_no_stage() -> None:
    timeline = Timeline()
    timeline.abandon()
    with pytest.raises(CommandFailed, match="create disk"), timeline.stage("create disk"):
        pytest.fail("the stage was begun")
