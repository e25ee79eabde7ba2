"""A server that moves between hosts, on hosts that the test plays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import select

from pileus.agent.commands import AgentReport, Envelope, Failure, HostReport, Inventory
from pileus.compute.migration_model import Migration
from pileus.compute.model import Host, Server, ServerFault
from pileus.network.model import Port
from pileus.operations.model import DebtRow
from pileus.placement.model import Allocation, Consumer
from tests.client import Client
from tests.unit.operations.world import Hosts, Replica
from tests.unit.serving import Serving

SERVERS = "/compute/v2.1/servers"
NEWEST = {"OpenStack-API-Version": "compute 2.104"}
REFUSED = Failure(code="hypervisor", message="the host is not well")


def reported(count: int, first: int = 0) -> AgentReport:
    """A report of so many hosts, without guests."""
    inventories = {
        "VCPU": Inventory(total=64), "MEMORY_MB": Inventory(total=65536), "DISK_GB": Inventory(total=1000)
    }  # fmt: skip
    return AgentReport(
        started=0.0,
        network="fake",
        hosts=tuple(
            HostReport(
                name=f"host-{n}", hypervisor_type="fake", hypervisor_version=1, host_ip="127.0.0.1",
                inventories=inventories, cpu_info={"arch": "x86_64"},
            )
            for n in range(first, first + count)
        ),
    )  # fmt: skip


class World:
    """A server of demo's that runs on host-0 or host-1, on hosts that the test plays."""

    def __init__(self, serving: Serving, admin: Client, demo: Client, boot: Callable[..., str]) -> None:
        self.serving, self.admin, self.demo = serving, admin, demo
        self.hosts = Hosts()
        self.replica = Replica(serving.db, self.hosts, registry=serving.cloud.runner._registry).begin()
        network = demo("POST", "/network/v2.0/networks", json={"network": {"name": "n"}}).json["network"]["id"]
        subnet = {"network_id": network, "ip_version": 4, "cidr": "10.0.0.0/24"}
        demo("POST", "/network/v2.0/subnets", json={"subnet": subnet})
        self.boot = lambda **values: boot(networks=[{"uuid": network}], **values)
        self.id = self.boot()
        self.replica.run()
        self.source = self.row().host or ""
        self.other = {"host-0": "host-1", "host-1": "host-0"}[self.source]

    def act(self, key: str, value: Any = None, user: Client | None = None, **headers: Any) -> Any:
        """POST .../action; the answer."""
        return (user or self.demo)("POST", f"{SERVERS}/{self.id}/action", json={key: value}, headers=headers or NEWEST)

    def done(self, key: str, value: Any = None, user: Client | None = None) -> None:
        """An action that is accepted, and carried out."""
        assert self.act(key, value, user).status_code in (202, 204)
        self.hosts.sent.clear()
        self.replica.run()

    def resize(self, flavor: str = "84") -> None:
        self.done("resize", {"flavorRef": flavor})

    def show(self, user: Client | None = None) -> dict[str, Any]:
        found: dict[str, Any] = (user or self.demo)("GET", f"{SERVERS}/{self.id}", headers=NEWEST).json["server"]
        return found

    def row(self) -> Server:
        with self.serving.db.read() as session:
            return session.get_one(Server, self.id)

    def migration(self) -> Migration:
        with self.serving.db.read() as session:
            return session.scalars(select(Migration).order_by(Migration.id.desc())).first()  # type: ignore[return-value]

    def migration_user(self) -> str:
        """Who asked for the first move."""
        with self.serving.db.read() as session:
            return session.scalars(select(Migration.user_id).order_by(Migration.id)).first() or ""

    def grant(self, project: str, role: str) -> None:
        """Give demo one more role in its project, and log it in again."""
        roles = self.admin("GET", f"/identity/v3/roles?name={role}").json["roles"]
        made = roles or [self.admin("POST", "/identity/v3/roles", json={"role": {"name": role}}).json["role"]]
        path = f"/identity/v3/projects/{project}/users/{self.migration_user()}/roles/{made[0]['id']}"
        assert self.admin("PUT", path).status_code == 204
        self.demo = self.serving.user("demo", "")

    def claims(self) -> dict[str, tuple[str, str, int]]:
        """Who holds what: consumer, its type, host and memory, by consumer."""
        with self.serving.db.read() as session:
            names = {host.provider_id: host.name for host in session.scalars(select(Host))}
            kinds = {one.id: one.consumer_type for one in session.scalars(select(Consumer))}
            memory = select(Allocation).where(Allocation.resource_class == "MEMORY_MB")
            return {
                row.consumer_id: (kinds[row.consumer_id], names[row.provider_id], row.used)
                for row in session.scalars(memory)
            }

    def used(self) -> tuple[int, int]:
        """Cores and memory that demo's project uses."""
        limits = self.demo("GET", "/compute/v2.1/limits").json["limits"]["absolute"]
        return limits["totalCoresUsed"], limits["totalRAMUsed"]

    def port(self) -> tuple[str, str]:
        """The host of the server's port, and its status."""
        with self.serving.db.read() as session:
            port = session.scalars(select(Port).where(Port.server_id == self.id)).one()
            return port.host, port.status

    def commands(self) -> list[tuple[str, str, int]]:
        """What hosts were sent: the command, the host, the incarnation."""
        return [(type(one.command).__name__, one.host, one.command.age) for one in self.hosts.sent]

    def fault(self) -> str:
        with self.serving.db.read() as session:
            return session.scalars(select(ServerFault).order_by(ServerFault.id.desc())).first().details  # type: ignore

    def debts(self) -> list[tuple[str, str]]:
        with self.serving.db.read() as session:
            hosts = DebtRow.host.startswith("host-")
            return [(row.host, row.name) for row in session.scalars(select(DebtRow).where(hosts))]

    def force_down(self, host: str, down: bool) -> None:
        """An administrator declares a host down, or takes that back."""
        with self.serving.db.write() as session:
            session.get_one(Host, host).forced_down = down

    def pay(self) -> None:
        """What is owed is due, and tried."""
        with self.serving.db.write() as session:
            for row in session.scalars(select(DebtRow)):
                row.next_try = row.next_try.replace(year=2020)
        self.replica.run()

    def refuse(self, *kinds: type, host: str = "", failure: Failure = REFUSED) -> None:
        """These commands fail from now on, on one host or on all."""

        def answer(envelope: Envelope) -> Failure | None:
            mine = isinstance(envelope.command, kinds) and host in ("", envelope.host)
            return failure if mine else None

        self.hosts.automatic = answer


def listed(user: Client, query: str = "", version: str = "2.104") -> Any:
    """The list of all moves, as somebody sees it."""
    headers = {"OpenStack-API-Version": f"compute {version}"}
    return user("GET", f"/compute/v2.1/os-migrations{query}", headers=headers)
