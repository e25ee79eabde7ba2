"""Full disks and commands that hang: no answer is lost, no worker is lost, nothing is done twice."""

from __future__ import annotations

import sqlite3

import pytest

from pileus.agent.commands import (
    BuildGuest,
    DiscardGuest,
    ReceiveGuest,
    RestoreGuest,
    StashGuest,
)
from pileus.agent.journal import KEEP_S, Known
from pileus.agent.lanes import ABANDONED_S
from tests.support import eventually
from tests.unit.agent.desk import Desk, FakeClock, Gate, parcel, stop
from tests.unit.agent.specs import SERVER, guest

# --- a journal that cannot be written -----------------------------------------------------------------------------


def test_an_answer_that_cannot_be_recorded_is_recorded_later(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(monkeypatch, desk.hypervisor, "build")
    desk.submit(BuildGuest(guest=guest()), "a:0")
    assert gate.entered.wait(60)
    desk.submit(stop(SERVER), "b:0")
    desk.connection.full = True
    gate.opened.set()
    eventually(lambda: desk.connection.refused >= 3, 60, "several tries")
    assert desk.nothing_more() and not desk.connection.in_transaction
    assert desk.guests() == {SERVER: 1}, "nothing behind it was begun"
    desk.connection.full = False
    first, second = desk.next_answer(), desk.next_answer()
    assert (first.key, first.result) == ("a:0", {"power_state": 1})
    assert (second.key, second.result) == ("b:0", {"power_state": 4})


def test_a_full_disk_keeps_no_worker(desk: Desk) -> None:
    """More commands than there are threads fail to be recorded; all are answered, and so are those that come after."""
    desk.submit(stop("first"), "first:0")
    desk.next_answer()
    for number in range(12):
        desk.journal.admit(f"op{number}", 1)
    desk.connection.full = True
    for number in range(12):
        desk.submit(stop(f"s{number}"), f"op{number}:0")
    eventually(lambda: desk.connection.refused >= 12, 60, "the failure of each")
    assert desk.nothing_more() and not desk.connection.in_transaction
    desk.connection.full = False
    assert {desk.next_answer().key for _ in range(12)} == {f"op{number}:0" for number in range(12)}
    assert desk.carry_out(BuildGuest(guest=guest()), "after:0").failure is None
    assert desk.nothing_more(), "each is answered once"


def test_a_command_is_not_accepted_while_the_journal_is_full(desk: Desk) -> None:
    desk.connection.full = True
    with pytest.raises(sqlite3.OperationalError, match="full"):
        desk.submit(BuildGuest(guest=guest()), "op:0")
    with pytest.raises(sqlite3.OperationalError, match="full"):
        desk.executor.submit(parcel(b'{"type": "MigrateGuest"}', "other:0"))
    assert not desk.connection.in_transaction
    desk.connection.full = False
    assert desk.nothing_more() and desk.guests() == {}
    assert desk.carry_out(BuildGuest(guest=guest()), "op:0").failure is None


def test_a_guest_is_not_built_while_its_incarnation_cannot_be_noted(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is made without a note could not be told from a newer one later."""
    desk.journal.admit("op", 1)
    desk.connection.full = True
    desk.submit(BuildGuest(guest=guest(incarnation=1)), "op:0")
    eventually(lambda: desk.connection.refused >= 2, 60, "the refusal of the note, and of the answer")
    assert desk.guests() == {}
    desk.connection.full = False
    failure = desk.next_answer().failure
    assert failure is not None and failure.code == "journal" and "fake-1" in failure.message


def test_the_journal_forgets_what_is_old_but_no_guest_that_is_here(desk: Desk, fake_clock: FakeClock) -> None:
    desk.carry_out(BuildGuest(guest=guest(incarnation=3)), "op:0")
    desk.carry_out(DiscardGuest(server_id="gone", incarnation=2), "other:0")
    fake_clock.ahead_s = KEEP_S / 2
    desk.journal.purge()
    assert desk.journal.answer("op:0") is not None
    fake_clock.ahead_s = KEEP_S + 60
    desk.journal.purge()
    assert desk.journal.answer("op:0") is None and desk.journal.feed(0, 0) == []
    assert desk.journal.known("fake-1", SERVER) == Known(3, False) and desk.journal.known("fake-1", "gone") is None
    assert desk.journal.incarnations("fake-1") == {SERVER: 3}


# --- deadlines ----------------------------------------------------------------------------------------------------


def test_a_command_that_hangs_is_answered_and_the_discard_behind_it_is_carried_out(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, fake_clock: FakeClock
) -> None:
    gate = Gate(monkeypatch, desk.hypervisor, "build")
    desk.submit(BuildGuest(guest=guest()), "boot:0", deadline_s=100)
    assert gate.entered.wait(60)
    fake_clock.ahead_s = 99
    desk.carry_out(stop("other"), "other:0")
    assert desk.nothing_more()
    fake_clock.ahead_s = 101
    late = desk.next_answer()
    assert late.key == "boot:0" and late.failure is not None and late.failure.code == "deadline"
    assert late.failure.message == "Host fake-1 did not finish within 100 s."
    discarded = desk.carry_out(DiscardGuest(server_id=SERVER), "boot:0:undo")
    assert discarded.failure is None
    gate.opened.set()
    assert gate.ended.wait(60)
    assert desk.next_answer().key == "boot:0:late", "what it may have made is discarded once more"
    desk.carry_out(stop("other"), "other:1")
    assert desk.nothing_more(), "it was answered once"
    assert desk.guests() == {}, "what was given up leaves nothing"


def test_what_comes_back_late_leaves_what_it_went_on_from(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, fake_clock: FakeClock
) -> None:
    """A resize on one host: what is set aside there is the guest, until it is restored."""
    desk.carry_out(BuildGuest(guest=guest(incarnation=1)), "boot:0")
    kept = desk.carry_out(StashGuest(server_id=SERVER, incarnation=2), "resize:0")
    assert kept.failure is None
    gate = Gate(monkeypatch, desk.hypervisor, "receive")
    receive = ReceiveGuest(guest=guest(incarnation=3), source="fake-1", address="", set_aside=2, files=(), run=True)
    desk.submit(receive, "resize:1", deadline_s=100)
    assert gate.entered.wait(60)
    fake_clock.ahead_s = 101
    assert desk.next_answer().failure is not None
    undo = DiscardGuest(server_id=SERVER, incarnation=3, stash=False)
    assert desk.carry_out(undo, "resize:1:undo").failure is None
    gate.opened.set()
    assert desk.next_answer().key == "resize:1:late"
    restored = desk.carry_out(RestoreGuest(guest=guest(incarnation=4), set_aside=2, run=True), "resize:0:undo")
    assert restored.failure is None, "it is still there"


def test_a_discard_waits_for_what_hangs_no_longer_than_a_while(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, fake_clock: FakeClock
) -> None:
    gate = Gate(monkeypatch, desk.hypervisor, "build")
    desk.submit(BuildGuest(guest=guest()), "boot:0", deadline_s=3600)
    assert gate.entered.wait(60)
    desk.submit(DiscardGuest(server_id=SERVER), "boot:0:undo")
    assert desk.nothing_more()
    fake_clock.ahead_s = ABANDONED_S + 1
    late, discarded = desk.next_answer(), desk.next_answer()
    assert late.failure is not None and (late.key, late.failure.code) == ("boot:0", "deadline")
    assert discarded.key == "boot:0:undo" and discarded.failure is None
    gate.opened.set()


def test_as_many_threads_work_on_as_were_lost_with_commands_that_hang(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, fake_clock: FakeClock
) -> None:
    gate = Gate(monkeypatch, desk.hypervisor, "build")
    for number in range(4):
        desk.submit(BuildGuest(guest=guest(server_id=f"s{number}")), f"op{number}:0", deadline_s=10)
    desk.submit(stop("waits"), "behind:0")
    assert gate.entered.wait(60) and desk.nothing_more()
    fake_clock.ahead_s = 11
    keys = {desk.next_answer().key for _ in range(5)}
    assert keys == {"behind:0", *(f"op{number}:0" for number in range(4))}
    gate.opened.set()
