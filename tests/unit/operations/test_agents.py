"""The link to an agent: commands get there, answers come back, also over the agent's restart and absence."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from pileus.agent.commands import (
    CLOUD_HEADER,
    CONTRACT,
    BuildGuest,
    Command,
    DiscardGuest,
    GuestEvent,
    Progress,
)
from pileus.agent.server import Agent
from pileus.clock import utcnow
from pileus.errors import Conflict, Unavailable
from pileus.operations import agents as link_module
from pileus.operations.questions import ask
from pileus.operations.wires import Question
from tests.members import Cloud
from tests.support import eventually
from tests.unit.agent.specs import guest
from tests.unit.operations.machine import CLOUD, Desk, Machine


def test_commands_are_answered(machine: Machine, new_desk: Callable[..., Desk]) -> None:
    machine.start()
    before = utcnow()
    desk = new_desk().start()
    assert [host.name for host in desk.ears.reports.get(timeout=60).hosts] == ["fake-1", "fake-2"]
    assert before <= desk.ears.asked[0] <= utcnow()
    for number in range(300):
        desk.send(f"op{number}:0")
    assert {desk.ears.next_answer().key for _ in range(300)} == {f"op{number}:0" for number in range(300)}
    assert desk.post.letters() == []
    assert desk.ears.lively.get(timeout=60) == ["fake-1", "fake-2"]


def test_a_command_waits_for_an_agent_that_comes_late(machine: Machine, new_desk: Callable[..., Desk]) -> None:
    desk = new_desk().start()
    desk.send("op:0")
    machine.start()
    answer = desk.ears.next_answer()
    assert answer.key == "op:0" and answer.failure is None


def test_a_command_outlives_the_agents_restart(machine: Machine, new_desk: Callable[..., Desk]) -> None:
    machine.start()
    desk = new_desk().start()
    desk.send("op:0")
    desk.ears.next_answer()
    machine.stop()
    desk.send("op:1", BuildGuest(guest=guest()))
    machine.start()
    answer = desk.ears.next_answer()
    assert answer.key == "op:1" and answer.failure is None and machine.guests() == {guest().server_id}


def test_what_was_answered_while_nobody_listened_is_heard_later(
    machine: Machine, new_desk: Callable[..., Desk]
) -> None:
    machine.start()
    first = new_desk().start()
    first.send("op:0")
    answered = first.ears.next_answer()
    first.agents.stop()
    second = new_desk()
    second.send("op:0")
    second.start()
    assert second.ears.next_answer() == answered


def test_guests_that_change_by_themselves_are_told(machine: Machine, new_desk: Callable[..., Desk]) -> None:
    machine.start()
    desk = new_desk().start()
    assert desk.ears.reports.get(timeout=60)
    told = GuestEvent(server_id="s", host="fake-1", power_state=4, at=1.0)
    machine.journal.report(told)
    assert desk.ears.events.get(timeout=60) == told


def test_progress_is_told(machine: Machine, new_desk: Callable[..., Desk]) -> None:
    machine.start()
    desk = new_desk().start()
    assert desk.ears.reports.get(timeout=60)
    (machine.state / "fake" / "behaviour.json").write_text('{"build_s": 1}')
    build = BuildGuest(guest=guest())
    desk.send("op:0", build)
    told = Progress(key="op:0", stage="fetch image", done=1, total=2)
    machine.journal.progress(told)
    assert desk.ears.told.get(timeout=60) == told


def test_console(machine: Machine, new_desk: Callable[..., Desk]) -> None:
    spec = guest()

    def console(**query: Any) -> str:
        return str(ask(machine.way, "/console", CLOUD, host="fake-1", server_id=spec.server_id, **query)["output"])

    with pytest.raises(Unavailable):
        console()
    machine.start()
    with pytest.raises(Conflict):
        console()
    desk = new_desk().start()
    desk.send("op:0", BuildGuest(guest=spec))
    assert desk.ears.next_answer().failure is None
    assert console(lines=1) == "login: "
    assert spec.server_id in console()


# --- what an agent refuses ----------------------------------------------------------------------------------------


def test_an_agent_of_another_cloud_refuses_and_accepts_nothing(machine: Machine, new_desk: Callable[..., Desk]) -> None:
    machine.start()
    ours = new_desk().start()
    assert ours.ears.reports.get(timeout=60)
    ours.send("op:0", BuildGuest(guest=guest()))
    ours.ears.next_answer()
    stranger = new_desk(Cloud("cloud-2")).start()
    stranger.send("theirs:0", DiscardGuest(server_id=guest().server_id, incarnation=9))
    with pytest.raises(Conflict, match="another cloud"):
        ask(machine.way, "/console", "cloud-2", host="fake-1", server_id=guest().server_id)
    with pytest.raises(Conflict, match="another cloud"):
        ask(machine.way, "/console", "", host="fake-1", server_id=guest().server_id)
    body = msgspec.json.encode([letter.envelope for letter in stranger.post.letters()])
    assert _post(machine, body, "cloud-2") == 409
    ours.send("op:1")
    assert ours.ears.next_answer().key == "op:1", "its own is served as before"
    assert machine.guests() == {guest().server_id} and machine.journal.answer("theirs:0") is None
    assert stranger.ears.reports.empty() and stranger.ears.answers.empty()
    assert len(stranger.post.letters()) == 1


def test_an_agent_keeps_to_its_cloud_over_a_restart(machine: Machine, new_desk: Callable[..., Desk]) -> None:
    machine.start()
    assert new_desk().start().ears.reports.get(timeout=60)
    machine.stop()
    machine.start()
    assert not machine.agent.belongs_to("cloud-2") and machine.agent.belongs_to(CLOUD)


def test_a_cloud_without_an_id_gets_no_host(machine: Machine) -> None:
    machine.start()
    assert not machine.agent.belongs_to("")
    assert machine.agent.belongs_to(CLOUD) and not machine.agent.belongs_to("")


def test_a_command_that_the_agent_does_not_know_is_answered_and_the_others_are_carried_out(
    machine: Machine, new_desk: Callable[..., Desk]
) -> None:
    class MigrateGuest(Command, frozen=True, kw_only=True):
        """A command of a later release."""

        server_id: str

        @property
        def subject(self) -> str:
            return self.server_id

    desk = new_desk()
    desk.send("a:0")
    desk.send("b:0", MigrateGuest(server_id="s"))
    desk.send("c:0", BuildGuest(guest=guest()))
    machine.start()
    desk.start()
    answers = {answer.key: answer for answer in (desk.ears.next_answer() for _ in range(3))}
    failure = answers["b:0"].failure
    assert failure is not None and failure.code == "unsupported" and "fake-1" in failure.message
    assert answers["a:0"].failure is None and answers["c:0"].failure is None
    assert machine.guests() == {guest().server_id} and desk.post.letters() == []


def test_a_host_gets_nothing_until_its_agent_is_of_a_release_that_is_understood(
    machine: Machine, new_desk: Callable[..., Desk], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    said = Agent.report
    contracts = [CONTRACT - 2]
    monkeypatch.setattr(Agent, "report", lambda agent: replace(said(agent), contract=contracts[-1]))
    monkeypatch.setattr(link_module, "AWAY_S", 0.1)
    machine.start()
    desk = new_desk().start()
    desk.send("op:0", BuildGuest(guest=guest()))
    eventually(lambda: "too old: bring the host to this release" in caplog.text, 30, "its being told")
    assert desk.ears.reports.empty() and machine.guests() == set()
    contracts.append(CONTRACT - 1)
    answer = desk.ears.answers.get(timeout=60)
    assert answer.key == "op:0" and answer.failure is None and machine.guests() == {guest().server_id}


def test_what_is_no_parcel_does_not_keep_the_others_from_the_host(machine: Machine) -> None:
    machine.start()
    command = msgspec.to_builtins(DiscardGuest(server_id="s"))
    bad = [{"key": 1}, "text", None, {"host": "fake-1", "command": command}]
    good = {"key": "op:0", "host": "fake-1", "operation_id": "op", "attempt": 1, "command": command}
    assert _post(machine, msgspec.json.encode([*bad, good]), CLOUD) == 200
    assert eventually(lambda: machine.journal.answer("op:0"), 10).failure is None
    assert _post(machine, b"{", CLOUD) == 400


def test_a_full_journal_is_tried_again(
    machine: Machine, new_desk: Callable[..., Desk], monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.start()
    full, admit = [True], machine.journal.admit
    tries: list[str] = []

    def refuse(operation_id: str, attempt: int) -> bool:
        tries.append(operation_id)
        if full:
            raise sqlite3.OperationalError("database or disk is full")
        return admit(operation_id, attempt)

    monkeypatch.setattr(machine.journal, "admit", refuse)
    desk = new_desk()
    desk.send("a:0")
    desk.send("b:0")
    assert _post(machine, msgspec.json.encode([one.envelope for one in desk.post.letters()]), CLOUD) == 503
    desk.start()
    eventually(lambda: len(tries) > 2, 60, "the second try")
    assert machine.journal.answer("a:0") is None and desk.ears.answers.empty()
    full.clear()
    assert {desk.ears.next_answer().key for _ in range(2)} == {"a:0", "b:0"}
    assert desk.post.letters() == []


def _post(machine: Machine, body: bytes, cloud: str) -> int:
    """POST /commands; the status."""
    connection = Question(machine.way, 10.0)
    try:
        connection.request("POST", "/commands", body, {CLOUD_HEADER: cloud})
        return connection.getresponse().status
    finally:
        connection.close()
