"""Who may talk to whom: agents, replicas and strangers, by their certificates."""

from __future__ import annotations

import socket
from collections.abc import Callable
from datetime import timedelta

import pytest
from msgspec.structs import replace

from pileus.agent import doors
from pileus.certificates import AGENT, REPLICA, Identity
from pileus.errors import Conflict, Unavailable
from pileus.operations import agents as link_module
from pileus.operations.questions import ask
from tests.members import Cloud
from tests.support import eventually
from tests.unit.operations.machine import CLOUD, NAME, Desk, Machine, envelope


def test_an_agent_without_a_certificate_gets_one(machine: Machine, new_desk: Callable[..., Desk]) -> None:
    machine.start()
    desk = new_desk().start()
    report = desk.ears.reports.get(timeout=60)
    assert report.name == NAME and report.address == f"127.0.0.1:{machine.remote.port}"
    assert machine.papers.papers() is not None
    assert machine.cloud.renewed == ([NAME] if machine.way is machine.local else [])
    assert "report" in ask(machine.remote, "/report", CLOUD), "now it is reached from elsewhere, too"


@pytest.mark.parametrize("machine", ["tls"], indirect=True)
@pytest.mark.parametrize(
    "shown",
    ["another cloud's", "an agent's", "another authority's", "one that has ended"],
)
def test_only_replicas_of_its_cloud_are_let_in(machine: Machine, shown: str) -> None:
    machine.start()
    assert machine.agent.belongs_to(CLOUD)
    papers = {
        "another cloud's": Cloud("cloud-2").replica(),
        "an agent's": machine.cloud.papers(AGENT, "a2"),
        "another authority's": Cloud(CLOUD).replica(),
        "one that has ended": machine.cloud.papers(REPLICA, "r1", timedelta(seconds=-60)),
    }[shown]
    trusting = (
        papers
        if shown in ("an agent's", "one that has ended")
        else replace(papers, authority=machine.remote.papers.authority)
    )
    # Another agent is let in, and told of nothing that a replica is.
    with pytest.raises(Conflict if shown == "an agent's" else Unavailable):
        ask(replace(machine.remote, papers=trusting), "/report", CLOUD)
    assert "report" in ask(machine.remote, "/report", CLOUD)


@pytest.mark.parametrize("machine", ["tls"], indirect=True)
def test_a_replica_talks_to_no_other_agent_than_it_meant(machine: Machine, new_desk: Callable[..., Desk]) -> None:
    machine.start()
    elsewhere = replace(machine.remote, who=Identity(CLOUD, AGENT, "a2"))
    with pytest.raises(Unavailable):
        ask(elsewhere, "/report", CLOUD)
    impostor = Cloud(CLOUD)
    with pytest.raises(Unavailable):
        ask(replace(machine.remote, papers=impostor.replica()), "/report", CLOUD)


@pytest.mark.parametrize("machine", ["tls"], indirect=True)
def test_nobody_elsewhere_stops_an_agent(machine: Machine) -> None:
    machine.start()
    stopped: list[bool] = []
    machine.agent.stop = stopped.append
    with pytest.raises(Conflict, match="on the machine itself"):
        ask(machine.remote, "/stop", CLOUD, {"keep_guests": False})
    assert stopped == []
    ask(machine.local, "/stop", "", {"keep_guests": True})
    assert stopped == [True]


@pytest.mark.parametrize("machine", ["tls"], indirect=True)
def test_strangers_who_say_nothing_keep_nobody_out(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doors, "HANDSHAKE_S", 3600.0)
    machine.start()
    address = (machine.remote.host, machine.remote.port)
    silent = [socket.create_connection(address) for _ in range(doors.STRANGERS + 8)]
    try:
        assert "report" in ask(machine.remote, "/report", CLOUD)
    finally:
        for one in silent:
            one.close()


def test_an_agent_speaks_for_its_own_hosts_only(machine: Machine, new_desk: Callable[..., Desk]) -> None:
    machine.start()
    desk = new_desk()
    [contact] = machine.cloud.contacts()
    machine.cloud.contacts()[0] = replace(contact, owns=lambda host: host == "fake-2")
    desk.start()
    assert [host.name for host in desk.ears.reports.get(timeout=60).hosts] == ["fake-2"]
    desk.send("op:0", host="fake-1")
    desk.send("op:1", host="fake-2")
    assert desk.ears.next_answer().key == "op:1"
    assert machine.journal.answer("op:0") is None, "no other host's commands are shown to it"


def test_an_agent_that_does_not_belong_any_more_is_not_talked_to(
    machine: Machine, new_desk: Callable[..., Desk], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link_module, "LOOK_S", 0.05)
    machine.start()
    desk = new_desk().start()
    desk.send("op:0")
    assert desk.ears.next_answer().key == "op:0"
    contacts = list(machine.cloud.contacts())
    machine.cloud.contacts().clear()
    eventually(lambda: not desk.post.send(envelope("op:1")), 60, "the end of the conversation")
    machine.cloud.contacts().extend(contacts)
    assert desk.ears.next_answer().key == "op:1"
