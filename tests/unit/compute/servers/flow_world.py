"""Servers in whatever state a flow begins from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pileus.api import Requester
from pileus.compute.action import Action
from pileus.compute.actions import confirm, resize, revert
from pileus.compute.actions.evacuate import evacuate
from pileus.compute.actions.shelve import shelve, shelve_offload
from pileus.compute.model import Host, Server
from pileus.compute.states import BUILDING, SHELVED, SHELVED_OFFLOADED
from pileus.operations import OperationRow, live, task_states
from tests.client import Client
from tests.unit.operations.world import Hosts, Replica
from tests.unit.serving import Serving

RULE = "os_compute_api:servers:show"


class FlowWorld:
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
