"""A database with hosts and with servers that wait to be placed, as several replicas see it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
from sqlalchemy import event, select

from pileus.agent.commands import AgentReport, HostReport, Inventory
from pileus.compute import flavors, hosts, scheduler
from pileus.compute.model import Server
from pileus.compute.placement_model import ServerGroup
from pileus.compute.snapshots import ImageSnapshot
from pileus.db import Contended, Database, Session, new_id, utcnow
from pileus.operations import CommandError
from pileus.placement import allocations
from pileus.placement.model import ResourceProvider


def host_report(name: str, room: int = 4, **changes: Any) -> HostReport:
    """A host with room for so many servers of flavor 42 (1 VCPU, 128 MiB, 1 GiB)."""
    told = HostReport(
        name=name, hypervisor_type="fake", hypervisor_version=1, host_ip="192.0.2.1",
        inventories={"VCPU": Inventory(total=room), "MEMORY_MB": Inventory(total=4096), "DISK_GB": Inventory(total=99)},
        traits=("COMPUTE_NODE",), cpu_info={"arch": "x86_64"},
    )  # fmt: skip
    return msgspec.structs.replace(told, **changes)


def report_of(*told: HostReport) -> AgentReport:
    return AgentReport(started=0.0, network="fake", hosts=told)


class World:
    """What one replica does with the database; `another` is a second one on the same."""

    def __init__(self, db: Database) -> None:
        self.db = db
        self.errors: list[str] = []
        self._others: list[World] = []

    def another(self) -> World:
        """A second replica; it ends with this one."""
        self._others.append(World(Database(self.db.engine.url.render_as_string(hide_password=False))))
        return self._others[-1]

    def end(self) -> None:
        """Close the connections of all."""
        for one in self._others:
            one.end()
        self.db.dispose()

    def write(self, change: Callable[[Session], Any]) -> Any:
        with self.db.write() as session:
            return change(session)

    def report(self, *told: HostReport) -> None:
        self.write(lambda session: hosts.register(session, report_of(*told), utcnow()))

    def server(
        self,
        session: Session,
        specs: dict[str, str] | None = None,
        properties: dict[str, str] | None = None,
        **values: Any,
    ) -> str:
        """A server that waits to be placed.

        Args:
            specs: extra specs of its flavor; properties: of its image.
        """
        now, server_id = utcnow(), new_id()
        flavor = flavors.snapshot(flavors.named(session, "m1.nano"))
        same: dict[str, Any] = {
            "name": "s", "hostname": "s", "project_id": "p", "user_id": "u", "reservation_id": "r",
            "vm_state": "building",
            "flavor": msgspec.structs.replace(flavor, extra_specs=specs or {}),
            "image": ImageSnapshot(properties=properties or {}), "networks": [], "security_groups": [],
            "created_at": now, "updated_at": now,
        }  # fmt: skip
        number = len(session.scalars(select(Server.id)).all()) + 1
        session.add(Server(id=server_id, number=number, **same | values))
        session.flush()
        return server_id

    def group(self, session: Session, policy: str) -> str:
        """A server group."""
        group = ServerGroup(id=new_id(), name="g", project_id="p", user_id="u", policy=policy, created_at=utcnow())
        session.add(group)
        return group.id

    def servers(self, count: int, **values: Any) -> list[str]:
        return list(self.write(lambda session: [self.server(session, **values) for _ in range(count)]))

    def place(self, *servers: str) -> list[str | None]:
        """The hosts of servers that are placed in one pass, None where there is none; tried again as a runner does."""
        for _ in range(5):
            try:
                with self.db.write() as session:
                    results = scheduler.place(session, [(one, []) for one in servers])
            except Contended:
                continue
            self.errors = [one.message for one in results if isinstance(one, CommandError)]
            return [None if isinstance(one, CommandError) else one["host"] for one in results]
        raise AssertionError("contended for ever")

    def boot(self, **values: Any) -> str | None:
        """Where a new server is placed."""
        return self.place(*self.servers(1, **values))[0]

    def release(self, server_id: str) -> None:
        self.write(lambda session: scheduler.release(session, server_id))

    def generation(self, host: str) -> int:
        with self.db.read() as session:
            return session.scalars(select(ResourceProvider.generation).where(ResourceProvider.name == host)).one()

    def used(self) -> dict[str, int]:
        """VCPUs in use, by host."""
        with self.db.read() as session:
            names = {one.id: one.name for one in session.scalars(select(ResourceProvider))}
            return {names[one]: used["VCPU"] for one, used in allocations.usages(session).items()}

    @contextmanager
    def statements(self) -> Iterator[list[str]]:
        """What is asked of the database in the block."""
        seen: list[str] = []

        def note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
            seen.append(" ".join(statement.split()))

        event.listen(self.db.engine, "before_cursor_execute", note)
        try:
            yield seen
        finally:
            event.remove(self.db.engine, "before_cursor_execute", note)
