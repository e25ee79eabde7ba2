"""The link to an agent: commands get there, answers come back, also over the agent's restart and absence."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pileus.agent.commands import AgentReport, Answer, BuildGuest, DropPort, Envelope, GuestEvent
from pileus.agent.executor import Executor
from pileus.agent.hypervisor.fake import FakeHypervisor
from pileus.agent.journal import Journal
from pileus.agent.network.fake import FakeNetwork
from pileus.agent.server import Agent, UnixServer, serve
from pileus.errors import Conflict, Unavailable
from pileus.operations.agents import AgentLink
from tests.unit.agent.specs import guest


class Machine:
    """A host whose agent can be started and stopped."""

    def __init__(self, state: Path) -> None:
        self.state, self.socket = state, state / "agent.sock"
        self.server: UnixServer | None = None
        self.journal: Journal | None = None

    def start(self) -> None:
        network = FakeNetwork()
        hypervisor = FakeHypervisor(self.state, network, 2)
        hypervisor.start(lambda host, server_id, power_state: None)
        self.journal = Journal(self.state / "journal.db")
        agent = Agent(hypervisor, "fake", Executor(hypervisor, network, self.journal, threads=2), self.journal)
        self.server = serve(agent, self.socket, None)

    def stop(self) -> None:
        if self.server:
            self.server.shutdown()
            self.server.server_close()
            self.socket.unlink()
            self.server = None


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    machine = Machine(tmp_path)
    yield machine
    machine.stop()


@pytest.fixture
def new_link(machine: Machine) -> Iterator[Callable[..., AgentLink]]:
    links: list[AgentLink] = []

    def create(give_up_s: float = 60) -> AgentLink:
        link = AgentLink(machine.socket, give_up_s)
        links.append(link)
        return link

    yield create
    for link in links:
        link.stop()


def drop(key: str) -> Envelope:
    return Envelope(key=key, operation_id=key.split(":")[0], attempt=1, host="", command=DropPort(port_id="p"))


def test_commands_are_answered(machine: Machine, new_link: Callable[..., AgentLink]) -> None:
    machine.start()
    link, answers, reports = new_link(), queue.Queue[Answer](), queue.Queue[AgentReport]()
    link.on_answer, link.on_report = answers.put, reports.put
    link.start()
    assert [host.name for host in reports.get(timeout=10).hosts] == ["fake-1", "fake-2"]
    for number in range(300):
        link.send(drop(f"op{number}:0"))
    assert {answers.get(timeout=10).key for _ in range(300)} == {f"op{number}:0" for number in range(300)}


def test_a_command_waits_for_an_agent_that_comes_late(machine: Machine, new_link: Callable[..., AgentLink]) -> None:
    link, answers = new_link(), queue.Queue[Answer]()
    link.on_answer = answers.put
    link.start()
    link.send(drop("op:0"))
    machine.start()
    answer = answers.get(timeout=10)
    assert answer.key == "op:0" and answer.failure is None


def test_an_absent_agent_fails_its_commands_in_the_end(machine: Machine, new_link: Callable[..., AgentLink]) -> None:
    link, answers = new_link(give_up_s=0.3), queue.Queue[Answer]()
    link.on_answer = answers.put
    link.start()
    link.send(drop("op:0"))
    failure = answers.get(timeout=10).failure
    assert failure is not None and failure.code == "host-down"


def test_guests_that_change_by_themselves_are_told(machine: Machine, new_link: Callable[..., AgentLink]) -> None:
    machine.start()
    link, events, alive = new_link(), queue.Queue[GuestEvent](), queue.Queue[bool]()
    link.on_guest, link.on_report = events.put, lambda report: alive.put(True)
    link.start()
    assert alive.get(timeout=10)
    assert machine.journal is not None
    told = GuestEvent(server_id="s", host="fake-1", power_state=4, at=1.0)
    machine.journal.report(told)
    assert events.get(timeout=10) == told


def test_console(machine: Machine, new_link: Callable[..., AgentLink]) -> None:
    link = new_link()
    spec = guest()
    with pytest.raises(Unavailable):
        link.console("fake-1", spec.server_id, None)
    machine.start()
    with pytest.raises(Conflict):
        link.console("fake-1", spec.server_id, None)
    answers = queue.Queue[Answer]()
    link.on_answer = answers.put
    link.start()
    build = BuildGuest(guest=spec)
    link.send(Envelope(key="op:0", operation_id="op", attempt=1, host="fake-1", command=build))
    assert answers.get(timeout=10).failure is None
    assert link.console("fake-1", spec.server_id, 1) == "login: "
    assert spec.server_id in link.console("fake-1", spec.server_id, None)
