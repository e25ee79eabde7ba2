"""A server whose host is dead, and the hosts that it may go to."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select

from pileus.agent.commands import (
    AgentReport,
    GuestReport,
)
from pileus.clock import utcnow
from pileus.compute import hosts, services
from pileus.compute.model import Host
from pileus.compute.services import Change
from pileus.operations.model import DebtRow
from tests.unit.compute.servers.world import World, reported

V2_1, V2_28, V2_29, V2_68, V2_94, V2_95 = (
    {"OpenStack-API-Version": f"compute 2.{minor}"} for minor in (1, 28, 29, 68, 94, 95)
)


class Lost(World):
    """A server of demo's whose host is dead; there are three others."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        with self.serving.db.write() as session:
            hosts.register(session, reported(2, first=2), utcnow())
        self.declare(self.source)

    def declare(self, host: str, dead: bool = True) -> None:
        """Say that a host is dead; its agent is not connected then."""
        with self.serving.db.write() as session:
            services.change(session, session.get_one(Host, host), Change(forced_down=dead))
        for known in (self.hosts.dead, self.hosts.away):
            known.add(host) if dead else known.discard(host)

    def ask(self, version: dict[str, str] = V2_29, **body: Any) -> Any:
        return self.act("evacuate", body, self.admin, **version)

    def evacuate(self, version: dict[str, str] = V2_29, **body: Any) -> None:
        answer = self.ask(version, **body)
        assert answer.status_code == 200, answer.text
        self.hosts.sent.clear()
        self.replica.run()

    def sent(self, kind: type) -> list[Any]:
        return [one.command for one in self.hosts.sent if isinstance(one.command, kind)]

    def owed(self) -> list[tuple[str, str, int]]:
        """What hosts are owed: the host, what, of which incarnation."""
        with self.serving.db.read() as session:
            rows = session.scalars(select(DebtRow).where(DebtRow.host.startswith("host-")).order_by(DebtRow.id))
            return [(row.host, row.name, row.arguments["incarnation"]) for row in rows]

    def tell(self, host: str, *guests: GuestReport) -> None:
        """A host reports its guests."""
        (told,) = [one for one in reported(4).hosts if one.name == host]
        fields = {name: getattr(told, name) for name in told.__struct_fields__} | {"guests": guests}
        report = AgentReport(started=0.0, network="fake", hosts=(type(told)(**fields),))
        with self.serving.db.write() as session:
            hosts.register(session, report, utcnow())
