"""The state table is what happens: every flow, from every state that allows it, ends where its row says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pileus import clock
from pileus.agent.commands import Envelope, Failure, PowerState
from pileus.api import Requester
from pileus.compute.action import Action
from pileus.compute.actions import FLOWS, confirm, resize, revert
from pileus.compute.actions.delete import delete
from pileus.compute.actions.evacuate import evacuate
from pileus.compute.actions.shelve import shelve, shelve_offload
from pileus.compute.model import Host, Server, ServerFault
from pileus.compute.states import ACTIVE, BROKEN, BUILDING, SHELVED, SHELVED_OFFLOADED, STOPPED
from pileus.image import snapshots
from pileus.image.model import Image
from pileus.operations import OperationRow, live, task_states
from pileus.operations.runner import MAX_DEFECTS
from tests.client import Client
from tests.unit.operations.world import FakeClock, Hosts, Replica
from tests.unit.serving import Serving

RULE = "os_compute_api:servers:show"
CASES = [(flow, state) for flow in FLOWS for state in sorted(flow.transition.when)]
HOSTED = [
    case for case in CASES if case not in ((delete, BUILDING), (delete, SHELVED_OFFLOADED), (shelve_offload, SHELVED))
]
"""Those in which a host is asked, and decides."""


def name(value: Any) -> str:
    return value.transition.name if isinstance(value, Action) else f"from {value}"


class World:
    """Servers of demo's on a host that the test plays."""

    def __init__(self, serving: Serving, demo: Client, boot: Callable[..., str]) -> None:
        self.serving, self.demo, self.boot = serving, demo, boot
        serving.settings.shelved_offload_time = -1
        self.hosts = Hosts()
        known = serving.cloud.runner._registry
        self.replica = Replica(serving.db, self.hosts, registry=known).begin()
        self.shown: set[str | None] = set()

    def server(self) -> Server:
        with self.serving.db.read() as session:
            return session.get_one(Server, self.server_id)

    def accept(self, flow: Action[Any], vm_state: str) -> None:
        """Have the flow accepted for a server of a vm_state."""
        self.server_id = self.boot()
        if vm_state != BUILDING:
            self.replica.run()
        if flow.transition.name == "detach_interface":
            self._attach()
        if vm_state in (SHELVED, SHELVED_OFFLOADED):
            self._shelve(vm_state)
        if flow in (confirm.confirm_resize, revert.revert_resize):
            self._move()
        with self.serving.db.write() as session:
            self.image_id = session.get_one(Server, self.server_id).image_id
            session.get_one(Server, self.server_id).vm_state = vm_state
        if flow.transition.name == "boot":
            return
        if flow is evacuate:
            self._lose_host()
        with self.serving.db.write() as session:
            flow.ask(session, self.asks(), self.server_id, self.body(flow), rule=RULE)

    def _attach(self) -> None:
        path = f"/compute/v2.1/servers/{self.server_id}/os-interface"
        made = self.demo("POST", path, json={"interfaceAttachment": {}}).json["interfaceAttachment"]
        self.port_id = made["port_id"]
        self.replica.run()

    def _shelve(self, vm_state: str) -> None:
        """Only a server that was shelved has an image to come back from."""
        for flow in (shelve,) if vm_state == SHELVED else (shelve, shelve_offload):
            with self.serving.db.write() as session:
                flow.ask(session, self.asks(), self.server_id, rule=RULE)
            self.replica.run()

    def _lose_host(self) -> None:
        with self.serving.db.write() as session:
            server = session.get_one(Server, self.server_id)
            session.get_one(Host, server.host).forced_down = True

    def _move(self) -> None:
        with self.serving.db.write() as session:
            resize.resize.ask(session, self.asks(), self.server_id, {"flavorRef": "84"}, rule=RULE)
        self.replica.run()

    def body(self, flow: Action[Any]) -> Any:
        bodies = {
            "rebuild": {"imageRef": self.image_id},
            "createImage": {"name": "i"},
            "attach_interface": {},
            "resize": {"flavorRef": "84"},
            "evacuate": {"onSharedStorage": False},
            "live-migration": {"host": None, "block_migration": True, "disk_over_commit": False},
            "detach_interface": {"port_id": getattr(self, "port_id", None)},
        }
        return bodies.get(flow.transition.name)

    def asks(self) -> Requester:
        policy = next(one.policy for one in self.serving.cloud.services if one.name == "compute")
        requester = Requester(policy, self.serving.settings, "req-1")
        with self.serving.db.read() as session:
            requester.caller = self.serving.cloud.authenticate(session, self.demo.token or "")
        return requester

    def run(self) -> OperationRow:
        """Let it end; remembers the task_states that are shown meanwhile. Gives the newest operation."""
        with self.serving.db.read() as session:
            [*_, operation] = live(session, self.server_id)
        for _ in range(200):
            with self.serving.db.read() as session:
                self.shown |= set(task_states(session, [self.server_id]).values())
            if not self.replica.turn():
                break
        with self.serving.db.read() as session:
            return session.get_one(OperationRow, operation.id)


@pytest.fixture
def world(serving: Serving, demo: Client, boot: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> World:
    network = demo("POST", "/network/v2.0/networks", json={"network": {"name": "n"}}).json["network"]["id"]
    subnet = {"network_id": network, "ip_version": 4, "cidr": "10.0.0.0/24"}
    demo("POST", "/network/v2.0/subnets", json={"subnet": subnet})

    def publish(session: Any, image_id: str, url: str, made: Any) -> None:
        session.get_one(Image, image_id).status = "active"

    monkeypatch.setattr(snapshots, "publish", publish)  # there is no file
    return World(serving, demo, boot)


@pytest.mark.parametrize(("flow", "vm_state"), CASES, ids=name)
def test_where_it_leads(world: World, flow: Action[Any], vm_state: str) -> None:
    row = flow.transition
    world.accept(flow, vm_state)
    if flow is evacuate and vm_state == STOPPED:
        world.hosts.says = {"power_state": PowerState.SHUTDOWN}  # it is what its host says
    assert world.run().state == "succeeded"
    assert world.server().vm_state == row.after(vm_state)
    assert world.shown - {None} <= set(row.during) and set(row.during[:1]) <= world.shown


@pytest.mark.parametrize(("flow", "vm_state"), HOSTED, ids=name)
def test_where_it_leads_when_its_host_refuses(world: World, flow: Action[Any], vm_state: str) -> None:
    def refuse(envelope: Envelope) -> Failure:
        return Failure(code="hypervisor", message="the host is not well")

    world.accept(flow, vm_state)
    world.hosts.automatic = refuse
    with world.serving.db.write() as session:
        session.get_one(Server, world.server_id).admin_pass = "secret"
    assert world.run().state == "failed"
    server = world.server()
    assert server.vm_state == (flow.transition.failed or vm_state)
    assert (server.admin_pass is None) == (flow.transition.failed is not None or flow is evacuate)
    with world.serving.db.read() as session:
        fault = session.query(ServerFault).filter_by(server_id=server.id).order_by(ServerFault.id.desc()).first()
        assert fault is not None and "the host is not well" in fault.message


def test_where_a_defect_leads(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def defect(*_: Any) -> None:
        raise ZeroDivisionError

    flow = next(one for one in FLOWS if one.transition.name == "pause")
    world.accept(flow, ACTIVE)
    fake_clock = FakeClock(world.serving.db)
    monkeypatch.setattr(clock, "current", fake_clock)
    world.hosts.automatic = lambda envelope: Failure(code="hypervisor", message="no")
    monkeypatch.setattr(flow, "failed", defect)
    world.run()
    world.replica.run_over(fake_clock, 60.0 * MAX_DEFECTS)
    assert world.server().vm_state == BROKEN


def test_what_a_flow_does_not_declare_it_cannot_show(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    flow = next(one for one in FLOWS if one.transition.name == "rebuild")
    monkeypatch.setattr(flow, "shows", ("rebuilding",))
    world.accept(flow, ACTIVE)
    ended = world.run()
    assert ended.state == "failed" and ended.error and ended.error["code"] == "internal"
    assert world.shown == {"rebuilding"}
