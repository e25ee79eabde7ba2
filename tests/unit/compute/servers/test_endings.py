"""The state table is what happens: every flow, from every state that allows it, ends where its row says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pileus import clock
from pileus.agent.commands import Envelope, Failure, PowerState
from pileus.compute.action import Action
from pileus.compute.actions import FLOWS
from pileus.compute.actions.delete import delete
from pileus.compute.actions.evacuate import evacuate
from pileus.compute.actions.shelve import shelve_offload
from pileus.compute.model import Server, ServerFault
from pileus.compute.states import ACTIVE, BROKEN, BUILDING, SHELVED, SHELVED_OFFLOADED, STOPPED
from pileus.image import snapshots
from pileus.image.model import Image
from pileus.operations.runner import MAX_DEFECTS
from tests.client import Client
from tests.unit.compute.servers.flow_world import FlowWorld
from tests.unit.operations.world import FakeClock
from tests.unit.serving import Serving

CASES = [(flow, state) for flow in FLOWS for state in sorted(flow.transition.when)]
HOSTED = [
    case for case in CASES if case not in ((delete, BUILDING), (delete, SHELVED_OFFLOADED), (shelve_offload, SHELVED))
]
"""Those in which a host is asked, and decides."""


def name(value: Any) -> str:
    return value.transition.name if isinstance(value, Action) else f"from {value}"


@pytest.fixture
def world(serving: Serving, demo: Client, boot: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> FlowWorld:
    network = demo("POST", "/network/v2.0/networks", json={"network": {"name": "n"}}).json["network"]["id"]
    subnet = {"network_id": network, "ip_version": 4, "cidr": "10.0.0.0/24"}
    demo("POST", "/network/v2.0/subnets", json={"subnet": subnet})

    def publish(session: Any, image_id: str, url: str, made: Any) -> None:
        session.get_one(Image, image_id).status = "active"

    monkeypatch.setattr(snapshots, "publish", publish)  # there is no file
    return FlowWorld(serving, demo, boot)


@pytest.mark.parametrize(("flow", "vm_state"), CASES, ids=name)
def test_where_it_leads(world: FlowWorld, flow: Action[Any], vm_state: str) -> None:
    row = flow.transition
    world.accept(flow, vm_state)
    if flow is evacuate and vm_state == STOPPED:
        world.hosts.says = {"power_state": PowerState.SHUTDOWN}  # it is what its host says
    assert world.run().state == "succeeded"
    assert world.server().vm_state == row.after(vm_state)
    assert world.shown - {None} <= set(row.during) and set(row.during[:1]) <= world.shown


@pytest.mark.parametrize(("flow", "vm_state"), HOSTED, ids=name)
def test_where_it_leads_when_its_host_refuses(world: FlowWorld, flow: Action[Any], vm_state: str) -> None:
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


def test_where_a_defect_leads(world: FlowWorld, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_what_a_flow_does_not_declare_it_cannot_show(world: FlowWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    flow = next(one for one in FLOWS if one.transition.name == "rebuild")
    monkeypatch.setattr(flow, "shows", ("rebuilding",))
    world.accept(flow, ACTIVE)
    ended = world.run()
    assert ended.state == "failed" and ended.error and ended.error["code"] == "internal"
    assert world.shown == {"rebuilding"}
