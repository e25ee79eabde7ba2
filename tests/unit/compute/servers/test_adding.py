"""The example of an action in docs/adding.md holds: the command, both drivers' methods, the action and its flow."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import falcon.testing
import msgspec
import pytest
from sqlalchemy import select

from pileus.agent import executor
from pileus.agent.commands import AnyCommand, Failure, PowerState, ServerCommand, UnpauseGuest
from pileus.agent.hypervisor.base import Result
from pileus.agent.hypervisor.fake import FakeHypervisor
from pileus.agent.timeline import Timeline
from pileus.api import Requester, Routes, Values, app
from pileus.api.schema import obj
from pileus.compute import owing, servers, spec
from pileus.compute.action import action
from pileus.compute.actions import FLOWS, boot, delete
from pileus.compute.model import Server
from pileus.compute.parameters import SLACK_S
from pileus.compute.states import ACTIVE, PAUSED
from pileus.db import Session
from pileus.operations import Arguments, Operation, debts, recorded
from pileus.operations.model import DebtRow
from pileus.operations.owed import KNOWN
from tests.simulation.requests import ACTIONS
from tests.unit.agent.desk import Desk
from tests.unit.operations.world import Hosts, Replica
from tests.unit.serving import Serving

PAGE = Path(__file__).resolve().parents[4] / "docs" / "adding.md"
_, SECTION = PAGE.read_text().split("## An action on servers")
COMMAND, FAKE, LIBVIRT, ACTION = re.findall(r"```python\n(.*?)```", SECTION, re.DOTALL)
(OWE,) = re.findall(r"`(debts\.owe\(.*?\))`", SECTION, re.DOTALL)
NAMES: dict[str, Any] = {
    "__name__": "docs.adding", "ServerCommand": ServerCommand, "PowerState": PowerState, "Result": Result,
    "Timeline": Timeline, "time": time, "obj": obj, "action": action, "servers": servers, "spec": spec,
    "SLACK_S": SLACK_S, "ACTIVE": ACTIVE, "Operation": Operation, "Session": Session, "Server": Server,
    "Values": Values, "Requester": Requester, "Arguments": Arguments, "owing": owing, "UnpauseGuest": UnpauseGuest,
    "recorded": recorded,
}  # fmt: skip
"""What the examples take for granted."""


def run(text: str, **names: Any) -> dict[str, Any]:
    """What an example's module has, of a file that also has `names`."""
    names = NAMES | names
    exec(compile("from __future__ import annotations\n" + text, f"<{PAGE.name}>", "exec"), names)
    return names


@pytest.fixture(scope="module")
def command() -> Any:
    """The command's struct: there is one of it, as of every command."""
    return run(COMMAND)["NapGuest"]


@pytest.fixture
def nap(command: Any, serving: Serving, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The action, as a cloud knows it that was started with it."""
    page = run(ACTION, NapGuest=command)
    flow = page["nap"]
    compute = next(service for service in serving.cloud.services if service.name == "compute")
    routes = Routes()
    flow.declare(routes)
    compute.routes.extend(routes.routes)
    compute.policy.declare("os_compute_api:os-nap", "role:member")
    serving.client = falcon.testing.TestClient(app.build(serving.cloud, serving.cloud.services))
    serving.cloud.runner._registry.add(flow)
    serving.cloud.runner._registry.add_action(spec.builder(command))
    serving.cloud.runner._registry.add_action(page["wake"])
    monkeypatch.setattr(executor, "AnyCommand", AnyCommand | command)
    monkeypatch.setattr(FakeHypervisor, "nap", run(FAKE, NapGuest=command)["nap"], raising=False)
    yield flow
    del KNOWN[command.words()], KNOWN[page["wake"].name], spec._BUILDERS[command]


class Played(Hosts):
    """The hosts are those of a desk, with its executor and the fake drivers."""

    def __init__(self, desk: Desk) -> None:
        super().__init__()
        self._desk, self.automatic = desk, None

    def play(self, replica: Replica) -> None:
        """Carry everything out that is sent."""
        replica.run()
        while self.sent:
            envelope = self.sent.pop(0)
            answer = self._desk.carry_out(envelope.command, envelope.key, attempt=envelope.attempt, host=envelope.host)
            self.withdraw(envelope.key)
            replica.answer(answer)
            replica.run()


def test_the_whole_way(nap: Any, serving: Serving, boot: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "desk").mkdir()
    hosts = Played(Desk(tmp_path / "desk"))
    replica = Replica(serving.db, hosts, registry=serving.cloud.runner._registry).begin()
    server_id = boot()
    path = f"/compute/v2.1/servers/{server_id}"
    demo = serving.user("demo", "")
    assert demo("POST", f"{path}/action", json={"os-nap": {"seconds": 0.01}}).status_code == 409, "it is building"
    hosts.play(replica)
    assert demo("POST", f"{path}/action", json={"os-nap": {"seconds": -1}}).status_code == 400
    assert demo("POST", f"{path}/action", json={"os-nap": {"seconds": 0.01}}).status_code == 202
    assert demo("GET", path).json["server"]["OS-EXT-STS:task_state"] == "napping"
    hosts.play(replica)
    server = demo("GET", path).json["server"]
    assert (server["status"], server["OS-EXT-STS:task_state"], server["OS-EXT-STS:power_state"]) == ("ACTIVE", None, 1)
    (newest, *_) = demo("GET", f"{path}/os-instance-actions").json["instanceActions"]
    assert (newest["action"], newest["message"]) == ("nap", None)
    shown = demo(
        "GET", f"{path}/os-instance-actions/{newest['request_id']}", headers={"OpenStack-API-Version": "compute 2.51"}
    ).json["instanceAction"]
    assert [one["event"] for one in shown["events"]] == ["nap guest", "nap", "record state"]


def test_what_it_leaves_owed_and_what_is_in_its_way(nap: Any, serving: Serving, boot: Callable[..., str]) -> None:
    hosts = Hosts()
    replica = Replica(serving.db, hosts, registry=serving.cloud.runner._registry).begin()
    server_id = boot()
    replica.run()
    demo, path = serving.user("demo", ""), f"/compute/v2.1/servers/{server_id}/action"

    def owed() -> list[str]:
        with serving.db.read() as session:
            return list(session.scalars(select(DebtRow.name).where(DebtRow.subject_id == server_id)))

    hosts.automatic = lambda envelope: Failure(code="hypervisor", message="the host is not well")
    assert demo("POST", path, json={"os-nap": {"seconds": 0}}).status_code == 202
    replica.run()
    assert owed() == ["wake guest"]
    hosts.automatic = lambda envelope: None
    assert demo("POST", path, json={"os-nap": {"seconds": 0}}).status_code == 202
    hosts.sent.clear()
    replica.run()
    assert [type(one.command).__name__ for one in hosts.sent] == ["UnpauseGuest", "NapGuest"] and owed() == []
    with serving.db.write() as session:
        server = session.get_one(Server, server_id)
        exec(OWE, {"debts": debts, "spec": spec, "session": session, "host": "elsewhere", "server": server})
    answer = demo("POST", path, json={"os-nap": {"seconds": 0}})
    assert answer.status_code == 409 and "may still run elsewhere" in answer.text and owed() == ["discard guest"]


def test_what_it_leaves_owed_lets_no_paused_server_run(nap: Any, serving: Serving, boot: Callable[..., str]) -> None:
    hosts = Hosts()
    replica = Replica(serving.db, hosts, registry=serving.cloud.runner._registry).begin()
    server_id = boot()
    replica.run()
    demo, path = serving.user("demo", ""), f"/compute/v2.1/servers/{server_id}/action"
    refused = Failure(code="hypervisor", message="the host is not well")
    hosts.automatic = lambda one: refused if type(one.command).__name__ in ("NapGuest", "UnpauseGuest") else None
    for key, value in (("os-nap", {"seconds": 0}), ("pause", None)):
        assert demo("POST", path, json={key: value}).status_code == 202
        replica.run()
    hosts.automatic = lambda one: None
    hosts.sent.clear()
    with serving.db.write() as session:
        server = session.get_one(Server, server_id)
        assert [row.name for row in debts.open_debts(session)] == ["wake guest"] and server.vm_state == PAUSED
        debts.hurry(session, [server.host or ""])
    replica.run()
    with serving.db.read() as session:
        assert list(debts.open_debts(session)) == hosts.sent == []


def test_its_fields_are_checked_where_it_is_named(command: Any) -> None:
    with pytest.raises(TypeError, match=r"NapGuest takes \['seconds'\], not \['minutes'\]"):
        spec.owed(command, server_id="s", minutes=1)
    with pytest.raises(TypeError):
        spec.owed(command, server_id="s")


def test_on_the_wire(command: Any) -> None:
    made = command(server_id="s", incarnation=1, seconds=2.0)
    content = msgspec.json.encode(made)
    assert msgspec.json.decode(content)["type"] == "NapGuest" and command.words() == "nap guest"
    assert msgspec.json.decode(content, type=AnyCommand | command) == made


def test_libvirts_method(command: Any) -> None:
    called: list[str] = []
    domain = SimpleNamespace(suspend=lambda: called.append("suspend"), resume=lambda: called.append("resume"))
    driver = SimpleNamespace(
        _commanded=lambda host, server_id: nullcontext(),
        _existing=lambda server_id: domain,
        _held_or_running=lambda found: PowerState.RUNNING,
        _settled=lambda server_id: {"power_state": PowerState.RUNNING},
    )
    done = run(LIBVIRT, NapGuest=command)["nap"](driver, "h", command(server_id="s", seconds=0), Timeline())
    assert done == {"power_state": PowerState.RUNNING} and called == ["suspend", "resume"]


def test_the_simulation_plays_every_flow() -> None:
    """Boots and deletes come of requests of their own."""
    assert {*ACTIONS.values(), boot.boot, delete.delete} == set(FLOWS)
    assert "`ACTIONS` of `tests/simulation/requests.py`" in SECTION
