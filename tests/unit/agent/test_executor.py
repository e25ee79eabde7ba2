"""Commands are carried out once each, in order for each subject, and answered from the journal when they come again."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pileus.agent.commands import Answer, BuildGuest, Command, DiscardGuest, DropPort, Envelope, FeedEntry, SyncPort
from pileus.agent.errors import CommandFailed
from pileus.agent.executor import Executor
from pileus.agent.hypervisor.fake import FakeHypervisor
from pileus.agent.journal import Journal
from pileus.agent.network.fake import FakeNetwork
from pileus.agent.timeline import Timeline
from tests.unit.agent.specs import guest


def envelope(command: Command, key: str = "op:0", attempt: int = 1, host: str = "fake-1") -> Envelope:
    return Envelope(key=key, operation_id=key.split(":")[0], attempt=attempt, host=host, command=command)  # type: ignore[arg-type]


class Desk:
    """An executor over the fake drivers, and the answers it gives."""

    def __init__(self, state: Path) -> None:
        self.network = FakeNetwork()
        self.hypervisor = FakeHypervisor(state, self.network, 1)
        self.hypervisor.start(lambda host, server_id, power_state: None)
        self.journal = Journal(state / "journal.db")
        self.executor = Executor(self.hypervisor, self.network, self.journal, threads=4)
        self.read = 0

    def next_answer(self) -> Answer:
        entries: list[FeedEntry] = self.journal.feed(self.read, wait_s=10, limit=1)
        assert entries, "no answer came"
        self.read = entries[0].sequence
        assert entries[0].answer is not None
        return entries[0].answer

    def guests(self) -> dict[str, int]:
        return self.hypervisor.reports()[0].guests


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    yield Desk(tmp_path)


def test_a_guest_is_built_and_discarded_with_its_ports(desk: Desk) -> None:
    spec = guest()
    desk.executor.submit(envelope(BuildGuest(guest=spec), "op:0"))
    answer = desk.next_answer()
    assert answer.failure is None and answer.result == {"power_state": 1}
    names = [event.name for event in answer.events]
    assert names[0] == "wire port" and names[-1] == "running"
    assert desk.guests() == {spec.server_id: 1}
    ports = tuple(wiring.port.id for wiring in spec.ports)
    assert set(desk.network.ports) == set(ports)
    desk.executor.submit(envelope(DiscardGuest(server_id=spec.server_id, port_ids=ports), "op:1"))
    assert desk.next_answer().failure is None
    assert desk.guests() == {} and desk.network.ports == {}


def test_a_repeated_command_gets_the_recorded_answer(desk: Desk) -> None:
    spec = guest()
    command = envelope(BuildGuest(guest=spec))
    desk.executor.submit(command)
    first = desk.next_answer()
    desk.hypervisor.discard("fake-1", spec.server_id, Timeline())
    desk.executor.submit(command)
    assert desk.next_answer() == first
    assert desk.guests() == {}, "it was answered, not carried out again"


def test_an_answer_outlives_the_agent(desk: Desk, tmp_path: Path) -> None:
    command = envelope(DropPort(port_id="p"))
    desk.executor.submit(command)
    first = desk.next_answer()
    again = Desk(tmp_path)
    again.read = again.journal.last()
    again.executor.submit(command)
    assert again.next_answer() == first


def test_a_stale_attempt_is_ignored(desk: Desk) -> None:
    desk.executor.submit(envelope(DropPort(port_id="p"), "op:1", attempt=3))
    assert desk.next_answer().key == "op:1"
    desk.executor.submit(envelope(BuildGuest(guest=guest()), "op:0", attempt=2))
    desk.executor.submit(envelope(DropPort(port_id="q"), "other:0"))
    assert desk.next_answer().key == "other:0"
    assert desk.guests() == {}


def test_what_a_driver_refuses_is_answered_with_its_reason(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "fake" / "behaviour.json").write_text('{"fail_build": {"fake-1": "the disk is broken"}}')
    desk.executor.submit(envelope(BuildGuest(guest=guest())))
    failure = desk.next_answer().failure
    assert failure is not None and (failure.code, failure.message) == ("hypervisor", "the disk is broken")


def test_a_defect_of_a_driver_is_answered_without_its_insides(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(port_id: str) -> None:
        raise ZeroDivisionError("secret path")

    monkeypatch.setattr(desk.network, "drop_port", broken)
    desk.executor.submit(envelope(DropPort(port_id="p")))
    failure = desk.next_answer().failure
    assert failure is not None and failure.code == "internal" and "secret" not in failure.message


def test_discard_waits_for_the_build_and_cuts_it_short(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = guest()
    entered, go_on = threading.Event(), threading.Event()

    def wait(wiring: object) -> None:
        entered.set()
        assert go_on.wait(10)

    monkeypatch.setattr(desk.network, "sync_port", wait)
    desk.executor.submit(envelope(BuildGuest(guest=spec), "boot:0"))
    assert entered.wait(10)
    desk.executor.submit(envelope(DiscardGuest(server_id=spec.server_id), "boot:0:undo"))
    go_on.set()
    built, discarded = desk.next_answer(), desk.next_answer()
    assert built.failure is not None and built.failure.code == "abandoned"
    assert discarded.key == "boot:0:undo" and discarded.failure is None
    assert desk.guests() == {}


def test_other_subjects_do_not_wait(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = threading.Event()
    monkeypatch.setattr(desk.network, "sync_port", lambda wiring: go_on.wait(10))
    desk.executor.submit(envelope(SyncPort(wiring=guest().ports[0]), "slow:0"))
    desk.executor.submit(envelope(DropPort(port_id="other"), "quick:0"))
    assert desk.next_answer().key == "quick:0"
    go_on.set()
    assert desk.next_answer().key == "slow:0"


def test_an_abandoned_timeline_begins_no_stage() -> None:
    timeline = Timeline()
    timeline.abandon()
    with pytest.raises(CommandFailed, match="create disk"), timeline.stage("create disk"):
        pytest.fail("the stage was begun")
