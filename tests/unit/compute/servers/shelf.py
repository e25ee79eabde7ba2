"""A server that is shelved and brought back, on hosts that the test plays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import select

from pileus.agent.commands import Envelope, Failure
from pileus.compute.model import Server, ServerFault
from pileus.image.model import Image
from pileus.network.model import Port
from pileus.placement.model import Consumer
from tests.client import Client
from tests.unit.compute.servers.flow_world import FlowWorld
from tests.unit.serving import Serving

NEWEST = {"OpenStack-API-Version": "compute 2.104"}


class Shelf(FlowWorld):
    """A server of demo's that runs and has a port; what is there of it."""

    def __init__(self, serving: Serving, demo: Client, admin: Client, boot: Callable[..., str]) -> None:
        super().__init__(serving, demo, boot)
        serving.settings.shelved_offload_time = 0
        self.admin = admin
        network = demo("POST", "/network/v2.0/networks", json={"network": {"name": "n"}}).json["network"]["id"]
        subnet = {"network_id": network, "ip_version": 4, "cidr": "10.0.0.0/24"}
        demo("POST", "/network/v2.0/subnets", json={"subnet": subnet})
        self.server_id = boot(networks=[{"uuid": network}])
        self.replica.run()
        self.hosts.sent.clear()

    def act(self, key: str, body: Any = None, client: Client | None = None, version: str = "2.104") -> Any:
        """Ask for an action, and let it end."""
        headers = {"OpenStack-API-Version": f"compute {version}"}
        path = f"/compute/v2.1/servers/{self.server_id}/action"
        answer = (client or self.demo)("POST", path, json={key: body}, headers=headers)
        if answer.status_code == 202:
            assert answer.content == b""
            self.replica.run()
        return answer

    def begin(self, key: str) -> None:
        """Ask for an action whose first command no host answers."""
        self.hosts.automatic = None
        self.act(key)

    def refuse(self, *names: str, code: str = "hypervisor") -> None:
        """Have hosts refuse these commands."""

        def answer(envelope: Envelope) -> Failure | None:
            no = type(envelope.command).__name__ in names
            return Failure(code=code, message="the host is not well") if no else None

        self.hosts.automatic = answer

    def be(self, vm_state: str) -> None:
        with self.serving.db.write() as session:
            session.get_one(Server, self.server_id).vm_state = vm_state

    def sent(self) -> list[str]:
        """The commands that hosts were sent since the last look."""
        found = [type(one.command).__name__ for one in self.hosts.sent]
        self.hosts.sent.clear()
        return found

    def all(self, model: type[Any], *where: Any) -> list[Any]:
        with self.serving.db.read() as session:
            return list(session.scalars(select(model).where(*where)))

    def images(self) -> list[Image]:
        return self.all(Image, Image.name == "s-shelved")

    def where(self) -> tuple[str, str | None, list[str], int]:
        """Its vm_state, its host, those that its ports are bound to, and how many claims there are."""
        ports = [port.host for port in self.all(Port, Port.server_id == self.server_id)]
        return self.server().vm_state, self.server().host, ports, len(self.all(Consumer))

    def fault(self) -> str:
        return str(self.all(ServerFault)[-1].message)


def set_status(shelf: Shelf, status: str) -> None:
    with shelf.serving.db.write() as session:
        session.get_one(Image, shelf.images()[0].id).status = status
