"""What clients ask for, through the same verbs as the HTTP routes."""

from __future__ import annotations

import time
import uuid
from typing import Any

from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from pileus.api import Caller, Policy, Requester
from pileus.compute import create, servers
from pileus.compute.action import Action
from pileus.compute.actions import delete, pause, power, rebuild
from pileus.compute.model import Server
from pileus.compute.policies import RULES
from pileus.db import Contended, Database, Session
from pileus.errors import PileusError
from pileus.network import networks, security_group_rules
from pileus.network.model import Network, SecurityGroup
from pileus.settings import Settings
from tests.simulation.database import IMAGE, PROJECT
from tests.simulation.dice import Dice

CALLER = Caller(user_id="u", user_name="u", user_domain_id="default", project_id=PROJECT, roles=("member",))
POLICY = Policy(RULES, None, "{rule}", "context_is_admin")
SETTINGS = Settings(state="/nowhere", build_attempts=2, shutdown_timeout_s=10.0, plug_timeout_s=10.0)
ACTIONS: dict[str, Action[Any]] = {
    "stop": power.stop,
    "start": power.start,
    "reboot": power.reboot_soft,
    "reboot_hard": power.reboot_hard,
    "pause": pause.pause,
    "unpause": pause.unpause,
    "suspend": pause.suspend,
    "resume": pause.resume,
    "rebuild": rebuild.rebuild,
}
REBUILD = {"imageRef": IMAGE}


def owner() -> Requester:
    """A member of the project, with a request of his own."""
    asks = Requester(POLICY, SETTINGS, f"req-{uuid.uuid4()}")
    asks.caller = CALLER
    return asks


class Clients:
    """Ask for things at any moment; remembers what was accepted."""

    def __init__(self, db: Database, dice: Dice, servers: int) -> None:
        self._db, self._dice, self._left = db, dice, servers
        self.accepted: set[str] = set()
        self.refused = 0

    def ask(self) -> None:
        """One request of any kind; it may be refused, or fail with the database."""
        kinds = ["delete", "network", "group", "data", *ACTIONS, *ACTIONS]
        kind = self._dice.pick(["create"] * 4 if self._left and self._dice.chance(0.5) else kinds)
        try:
            with self._db.write() as session:
                made = getattr(self, f"_{kind}", lambda session: self._act(session, kind))(session)
        except (PileusError, OperationalError, Contended):
            self.refused += 1
        else:
            self.accepted |= made or set()

    def _create(self, session: Session) -> set[str]:
        count = self._dice.pick((1, 1, 2))
        self._left = max(0, self._left - count)
        body = {"name": "s", "flavorRef": "42", "imageRef": IMAGE, "max_count": count, "min_count": count}
        asks = owner()
        wanted = create.prepare(session, asks, body, {})
        made = create.accept(session, asks, wanted, time.time())
        return {server.id for server in made}

    def _any(self, session: Session) -> str | None:
        ids = list(session.scalars(select(Server.id).where(Server.deleted_at.is_(None)).order_by(Server.number)))
        return self._dice.pick(ids) if ids else None

    def _delete(self, session: Session) -> None:
        if server_id := self._any(session):
            delete.request(session, owner(), server_id, "os_compute_api:servers:delete")

    def _act(self, session: Session, kind: str) -> None:
        if server_id := self._any(session):
            ACTIONS[kind].ask(session, owner(), server_id, REBUILD if kind == "rebuild" else None)

    def _data(self, session: Session) -> None:
        if server_id := self._any(session):
            server = session.get_one(Server, server_id)
            server.metadata_ = {"k": str(self._dice.between(0, 1))}
            servers.refresh_data(session, server, f"req-{uuid.uuid4()}")

    def _network(self, session: Session) -> None:
        network = session.scalars(select(Network).where(Network.project_id == PROJECT, ~Network.external)).one()
        networks.update(session, network, {"name": f"net-{self._dice.pick(range(1000))}"})

    def _group(self, session: Session) -> None:
        group = session.scalars(select(SecurityGroup)).one()
        port = self._dice.pick(range(1, 60000))
        ports = {"protocol": "tcp", "port_range_min": port, "port_range_max": port}
        rule = {"security_group_id": group.id, "project_id": PROJECT, "direction": "ingress", "ethertype": "IPv4"}
        security_group_rules.create(session, rule | ports)
