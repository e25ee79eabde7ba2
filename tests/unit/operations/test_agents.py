"""The link to an agent: commands get there, answers come back, also over the agent's restart and absence."""

from __future__ import annotations

import asyncio
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from pileus.agent import doors
from pileus.agent.commands import (
    CONTRACT,
    AgentReport,
    BuildGuest,
    CertificateRequest,
    Command,
    DiscardGuest,
    FeedEntry,
    Greeting,
    GuestEvent,
    HostReport,
    Progress,
)
from pileus.agent.server import Agent
from pileus.certificates import AGENT, REPLICA, Identity
from pileus.clock import utcnow
from pileus.errors import Conflict, Unavailable
from pileus.operations import agents as link_module
from pileus.operations import wires
from pileus.operations.agents import OF_ONE, QUESTIONS, Questions, ask
from pileus.operations.post import Refused
from pileus.operations.wires import Local, Question, Remote, Way, Wire
from tests.members import Cloud
from tests.support import eventually
from tests.unit.agent.specs import guest
from tests.unit.operations.machine import CLOUD, NAME, Desk, Machine, envelope, liar


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
        connection.request("POST", "/commands", body, {link_module.CLOUD_HEADER: cloud})
        return connection.getresponse().status
    finally:
        connection.close()


def test_an_agent_that_hangs_keeps_few_requests(tmp_path: Path) -> None:
    """Others are told at once that they wait for nothing."""
    path = tmp_path / "agent.sock"
    with socket.socket(socket.AF_UNIX) as agent, ThreadPoolExecutor(QUESTIONS) as clients:
        agent.bind(str(path))
        agent.listen(QUESTIONS)
        cloud = Cloud("cloud")
        cloud.add(NAME, Local(path))
        questions = Questions(cloud)
        asked = [clients.submit(questions.ask, "/console", host="h") for _ in range(QUESTIONS)]
        heard = [agent.accept()[0] for _ in range(QUESTIONS)]
        with pytest.raises(Unavailable, match="try again"):
            questions.tell("/password", host="h")
        for one in heard:
            one.close()
        assert all(isinstance(one.exception(20), Unavailable) for one in asked)


def test_an_agent_elsewhere_that_hangs_keeps_questions_to_others_possible(tmp_path: Path) -> None:
    ways: dict[str, Way] = {}

    class Two(Cloud):
        def way_to(self, host: str) -> Way:
            return ways[host]

    cloud = Two("cloud")
    answers = [b'{"output": "login: "}']
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        ThreadPoolExecutor(OF_ONE) as clients,
        liar(tmp_path / "s", lambda path: answers) as honest,
    ):
        hanging = Remote("127.0.0.1", silent.getsockname()[1], Identity("cloud", AGENT, "a"), cloud.replica())
        ways |= {"one": hanging, "two": hanging, "other": honest}
        questions = Questions(cloud)
        asked = [clients.submit(questions.ask, "/console", host=host) for host in ("one", "two")]
        heard = [silent.accept()[0] for _ in range(OF_ONE)]
        with pytest.raises(Unavailable, match="try again"):
            questions.ask("/console", host="two")
        for _ in range(2 * QUESTIONS):
            assert questions.ask("/console", host="other") == {"output": "login: "}
        for one in heard:
            one.close()
        assert all(isinstance(one.exception(20), Unavailable) for one in asked)


def test_an_answer_that_drips_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link_module, "ANSWER_S", 0.5)
    stopped = threading.Event()

    def drip(path: str) -> Iterator[bytes]:
        yield b"{"
        for _ in range(100):
            stopped.wait(0.05)
            yield b" "
        yield b"}"

    with liar(tmp_path / "s", drip) as way, pytest.raises(Unavailable):
        ask(way, "/console", CLOUD, host="h")
    stopped.set()


@pytest.mark.parametrize("answer", [b"{" + b" " * 65536 + b"}", b"{", b"[]", b'{"a": "\xff"}'])
def test_an_answer_that_cannot_be_is_none(tmp_path: Path, answer: bytes) -> None:
    with liar(tmp_path / "s", lambda path: [answer]) as way, pytest.raises(Unavailable):
        ask(way, "/password", CLOUD, {"host": "h"})


def test_nobody_is_where_nobody_can_be() -> None:
    with pytest.raises(Unavailable):
        ask(Remote("a..b", 7000, Identity("c", AGENT, "a"), Cloud("c").replica()), "/console", "c", host="h")


@pytest.mark.parametrize(("path", "most"), [("/other?x=1", 1 << 16), ("/piece?x=1", 1 << 22), ("/feed", 1 << 24)])
def test_no_more_is_read_than_an_answer_may_have(tmp_path: Path, path: str, most: int) -> None:
    sizes = iter((most, most + 1))

    async def exchange(way: Way) -> None:
        wire = Wire(way, CLOUD)
        try:
            await wire.open()
            assert len(await wire.exchange("GET", path)) == most
            with pytest.raises(Refused, match="longer than"):
                await wire.exchange("GET", path)
        finally:
            wire.close()

    with liar(tmp_path / "s", lambda path: [bytes(next(sizes))]) as way:
        asyncio.run(exchange(way))


def _greeting(host: str) -> bytes:
    spoken_for = HostReport(
        name=host, hypervisor_type="fake", hypervisor_version=1, host_ip="127.0.0.1", inventories={}
    )
    return msgspec.json.encode(Greeting(report=AgentReport(started=1.0, network="fake", hosts=(spoken_for,)), last=0))


def _certificate() -> bytes:
    return msgspec.json.encode(CertificateRequest(request="", ends=9e10))


def test_an_agent_that_does_not_wait_for_news_is_not_asked_all_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wires, "IDLE_S", 3600.0)
    asked: list[str] = []
    said = {"/report": _greeting("h"), "/certificate": _certificate(), "/feed": b"[]"}

    def answer(path: str) -> list[bytes]:
        asked.append(path)
        return [said[path]]

    with liar(tmp_path / "s", answer) as way:
        desk = Desk(way, Cloud(CLOUD)).start()
        assert desk.ears.lively.get(timeout=60) == ["h"]
        time.sleep(0.3)  # in which it would be asked a hundred times
        assert asked.count("/feed") == 1
        desk.agents.stop()


def test_agents_take_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One whose feed is long keeps nobody from being heard."""
    monkeypatch.setattr(link_module, "THREADS", 1)
    monkeypatch.setattr(link_module, "TAKEN", 2)
    long = [
        FeedEntry(sequence=i, guest=GuestEvent(server_id="s", host="h1", power_state=1, at=1.0)) for i in range(999)
    ]
    feeds = {"h1": msgspec.json.encode(long), "h2": b"[]"}
    going, heard_other = threading.Event(), threading.Event()

    def said(host: str, path: str) -> list[bytes]:
        if path == "/feed" and host == "h2":
            going.wait(60)  # the long one has the thread
        return [{"/report": _greeting(host), "/certificate": _certificate(), "/feed": feeds[host]}[path]]

    with liar(tmp_path / "1", partial(said, "h1")) as one, liar(tmp_path / "2", partial(said, "h2")) as other:
        cloud = Cloud(CLOUD)
        cloud.add("other", other)
        desk = Desk(one, cloud)
        events: list[GuestEvent] = []

        def guest(event: GuestEvent) -> None:
            events.append(event)
            going.set()
            heard_other.wait(0.05)

        def alive(hosts: list[str]) -> None:
            if hosts == ["h2"] and going.is_set():
                heard_other.set()

        desk.ears.guest, desk.ears.alive = guest, alive  # type: ignore[assignment]
        desk.start()
        assert heard_other.wait(20) and len(events) < len(long)
        desk.agents.stop()


# --- who may talk to whom -----------------------------------------------------------------------------------------


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
