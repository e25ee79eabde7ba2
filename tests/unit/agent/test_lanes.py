"""Commands that may take very long: a few of each kind at a time, in order, and nothing else waits for them."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from pileus.agent.commands import (
    Arrival,
    BuildGuest,
    Command,
    DepartGuest,
    Departure,
    DiscardGuest,
    MigrateGuest,
    StartGuest,
    StayGuest,
)
from pileus.agent.executor import LONG_THREADS
from pileus.agent.lanes import LONG
from pileus.agent.timeline import Timeline
from tests.support import eventually
from tests.unit.agent.desk import Desk, FakeClock, Gate, stop
from tests.unit.agent.specs import guest


class Endless:
    """A driver's method that ends when it is let, or taken back."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, desk: Desk, method: str) -> None:
        self.begun: list[str] = []
        self.ended = {f"s{number}": threading.Event() for number in range(20)}
        inner = getattr(desk.hypervisor, method)

        def wait(host: str, command: Command, timeline: Timeline) -> Any:
            if not timeline.abandoned:
                self.begun.append(command.subject)
            while not timeline.abandoned and not self.ended[command.subject].wait(0.01):
                pass
            return inner(host, command, timeline)

        monkeypatch.setattr(desk.hypervisor, method, wait)

    def end(self) -> None:
        for event in self.ended.values():
            event.set()


def migrate(server_id: str) -> Command:
    return MigrateGuest(
        server_id=server_id, incarnation=1, to="d", address="a", arrival=Arrival(), departure=Departure(), run=True
    )


def leaving(desk: Desk, monkeypatch: pytest.MonkeyPatch, guests: int) -> Endless:
    """As many guests leave as may at a time; those of the others wait."""
    for number in range(guests):
        desk.carry_out(BuildGuest(guest=guest(server_id=f"s{number}")), f"boot{number}:0")
        desk.carry_out(DepartGuest(server_id=f"s{number}", incarnation=1, to="d"), f"depart{number}:0")
    moves = Endless(monkeypatch, desk, "migrate")
    for number in range(guests):
        desk.submit(migrate(f"s{number}"), f"m{number}:0", deadline_s=100 if number < LONG_THREADS else 50)
        if number < LONG_THREADS:
            eventually(lambda: len(moves.begun) == number + 1, 30, "its beginning")  # noqa: B023
    return moves


def test_which_commands_may_take_long() -> None:
    assert set(LONG) == {"AwaitGuest", "MigrateGuest", "ReceiveGuest", "SnapshotGuest"}


def test_moves_that_do_not_end_keep_nothing_else_from_the_host(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    moves = leaving(desk, monkeypatch, 2 * LONG_THREADS)
    assert desk.carry_out(BuildGuest(guest=guest(server_id="new")), "boot:0").failure is None
    assert desk.carry_out(DiscardGuest(server_id="new"), "delete:0").failure is None
    assert moves.begun == [f"s{number}" for number in range(LONG_THREADS)], "the others wait"
    moves.end()
    assert {desk.next_answer().key for _ in range(2 * LONG_THREADS)} == {f"m{n}:0" for n in range(2 * LONG_THREADS)}


def test_those_that_wait_have_their_turn_in_order(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    moves = leaving(desk, monkeypatch, LONG_THREADS + 3)
    for number in range(3):
        moves.ended[f"s{number}"].set()
        assert desk.next_answer().key == f"m{number}:0"
        begun = LONG_THREADS + number + 1
        eventually(lambda: len(moves.begun) >= begun, 30, "the next")  # noqa: B023
        assert moves.begun == [f"s{number}" for number in range(begun)]
    moves.end()


@pytest.mark.parametrize("end", [StayGuest, DiscardGuest])
def test_what_waits_is_taken_back(desk: Desk, monkeypatch: pytest.MonkeyPatch, end: type[Command]) -> None:
    moves = leaving(desk, monkeypatch, LONG_THREADS + 2)
    waiting = f"s{LONG_THREADS}"
    desk.submit(stop(waiting), "stop:0")
    desk.submit(end(server_id=waiting, incarnation=1), "end:0")
    answers = [desk.next_answer() for _ in range(3)]
    assert [answer.key for answer in answers] == [f"m{LONG_THREADS}:0", "stop:0", "end:0"], "their order is kept"
    assert answers[0].failure is not None and answers[0].failure.code == "abandoned"
    assert answers[2].failure is None and (waiting in desk.guests()) == (end is StayGuest)
    moves.ended["s0"].set()
    assert desk.next_answer().key == "m0:0"
    eventually(lambda: f"s{LONG_THREADS + 1}" in moves.begun, 30, "the one behind it")
    assert waiting not in moves.begun
    moves.end()


def late_discard(desk: Desk, server_id: str) -> None:
    """Of an older guest than the one that is moved: a debt that is tried again."""
    desk.submit(DiscardGuest(server_id=server_id, incarnation=0, stash=False), f"debt-{server_id}:0")


def test_a_discard_of_an_older_guest_ends_nothing(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    moves = leaving(desk, monkeypatch, LONG_THREADS + 1)
    for moved in ("s0", waiting := f"s{LONG_THREADS}"):
        late_discard(desk, moved)
    assert desk.carry_out(DiscardGuest(server_id="other"), "other:0").failure is None, "there is a thread for it"
    assert desk.nothing_more() and waiting not in moves.begun
    moves.end()
    answers = {answer.key: answer for answer in (desk.next_answer() for _ in range(LONG_THREADS + 3))}
    assert all(answer.failure is None for answer in answers.values())
    assert {"debt-s0:0", f"debt-{waiting}:0", f"m{LONG_THREADS}:0"} <= answers.keys()


def test_nor_what_is_to_begin(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    moves = leaving(desk, monkeypatch, 1)
    gate = Gate(monkeypatch, desk.hypervisor, "power_off")
    desk.submit(stop("s19"), "stop:0")
    assert gate.entered.wait(30)
    desk.submit(migrate("s19"), "move:0")
    late_discard(desk, "s19")
    gate.opened.set()
    eventually(lambda: "s19" in moves.begun, 30, "its turn")
    moves.end()
    assert {desk.next_answer().key for _ in range(4)} == {"m0:0", "stop:0", "move:0", "debt-s19:0"}


def test_what_is_ended_before_its_turn_does_not_wait_for_one(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    moves = leaving(desk, monkeypatch, LONG_THREADS)
    desk.carry_out(BuildGuest(guest=guest(server_id="s19")), "boot:0")
    gate = Gate(monkeypatch, desk.hypervisor, "power_off")
    desk.submit(stop("s19"), "stop:0")
    assert gate.entered.wait(30)
    desk.submit(migrate("s19"), "move:0")
    desk.submit(StayGuest(server_id="s19", incarnation=1), "stay:0")
    gate.opened.set()
    assert [desk.next_answer().key for _ in range(3)] == ["stop:0", "move:0", "stay:0"]
    assert "s19" not in moves.begun
    moves.end()


def test_what_waits_longer_than_it_may_take_is_given_up(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, fake_clock: FakeClock
) -> None:
    moves = leaving(desk, monkeypatch, LONG_THREADS + 1)
    fake_clock.ahead_s = 51
    late = desk.next_answer()
    assert late.key == f"m{LONG_THREADS}:0" and late.failure is not None and late.failure.code == "deadline"
    assert desk.nothing_more()
    moves.end()
    assert {desk.next_answer().key for _ in range(LONG_THREADS)} == {f"m{n}:0" for n in range(LONG_THREADS)}
    assert f"s{LONG_THREADS}" not in moves.begun


def test_those_that_hang_leave_their_place_to_others_of_their_kind(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, fake_clock: FakeClock
) -> None:
    opened, begun = threading.Event(), list[str]()

    def hang(host: str, command: Command, timeline: Timeline) -> None:
        begun.append(command.subject)
        assert command.subject not in hanging or opened.wait(60)

    monkeypatch.setattr(desk.hypervisor, "migrate", hang)
    hanging = [f"s{number}" for number in range(LONG_THREADS)]
    for server_id in hanging:
        desk.submit(migrate(server_id), f"{server_id}:0", deadline_s=10)
    eventually(lambda: len(begun) == LONG_THREADS, 30, "all of them")
    desk.submit(migrate("next"), "next:0", deadline_s=1000)
    fake_clock.ahead_s = 11
    assert {desk.next_answer().key for _ in range(LONG_THREADS + 1)} == {"next:0", *(f"{one}:0" for one in hanging)}
    opened.set()


def test_what_ends_a_guest_finds_a_thread_whatever_is_under_way(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The desk has four threads for what is ordinary."""
    builds = Endless(monkeypatch, desk, "build")
    for number in range(4):
        desk.submit(BuildGuest(guest=guest(server_id=f"s{number}")), f"boot{number}:0", deadline_s=1000)
    eventually(lambda: len(builds.begun) == 4, 30, "all of them")
    desk.submit(StartGuest(guest=guest(server_id="waits")), "start:0")
    assert desk.nothing_more()
    desk.submit(DiscardGuest(server_id="waits"), "delete:0")
    started, discarded = desk.next_answer(), desk.next_answer()
    assert (started.key, discarded.key) == ("start:0", "delete:0")
    assert started.failure is not None and discarded.failure is None
    assert desk.carry_out(DiscardGuest(server_id="other"), "other:0").failure is None
    builds.end()
    assert {desk.next_answer().key for _ in range(4)} == {f"boot{number}:0" for number in range(4)}
