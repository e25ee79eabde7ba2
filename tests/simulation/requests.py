"""What clients ask for, through the same verbs as the HTTP routes."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from pileus.agent.commands import PowerState
from pileus.api import Caller, Policy, Requester
from pileus.compute import create, server_migrations, servers, services
from pileus.compute.action import Action
from pileus.compute.actions import (
    confirm,
    delete,
    evacuate,
    image,
    interfaces,
    live_migrate,
    pause,
    power,
    rebuild,
    reset,
    resize,
    revert,
    shelve,
)
from pileus.compute.migration_model import LIVE, LIVE_OPEN, Migration
from pileus.compute.model import Host, Server
from pileus.compute.policies import MEMBER, RULES
from pileus.compute.services import Change
from pileus.compute.states import PAUSED, RESIZED, SHELVED, SHELVED_OFFLOADED, SUSPENDED
from pileus.db import Contended, Database, Session
from pileus.errors import PileusError
from pileus.image import images
from pileus.image.model import Image
from pileus.jsontypes import Json, Values
from pileus.network import networks, security_group_rules, server_ports
from pileus.network.model import Network, Port, SecurityGroup
from pileus.operations.debts import open_debts
from pileus.operations.model import SubjectRow
from pileus.placement import allocations
from pileus.settings import Settings
from tests.simulation.database import IMAGE, PROJECT
from tests.simulation.dice import Dice

CALLER = Caller(user_id="u", user_name="u", user_domain_id="default", project_id=PROJECT, roles=("member", "manager"))
ALLOWED = (
    "os_compute_api:os-shelve:shelve_offload",
    "os_compute_api:os-evacuate",
    "os_compute_api:os-migrate-server:migrate_live:host",
)
POLICY = Policy(RULES | dict.fromkeys(ALLOWED, MEMBER), None, "{rule}", "context_is_admin")
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
    "createImage": image.create_image,
    "attach": interfaces.attach_interface,
    "detach": interfaces.detach_interface,
    "shelve": shelve.shelve,
    "offload": shelve.shelve_offload,
    "unshelve": shelve.unshelve,
    "resize": resize.resize,
    "migrate": resize.migrate,
    "confirm": confirm.confirm_resize,
    "revert": revert.revert_resize,
    "evacuate": evacuate.evacuate,
    "live": live_migrate.live_migrate,
}

LIKED = {"unpause": 9, "resume": 9, "unshelve": 9, "offload": 9, "shelve": 3, "resize": 4, "migrate": 4, "live": 4}
"""What clients ask for more often than for other things: what few states allow."""
SHELVING = ["shelve", "offload", "unshelve"]
"""What takes so long that a storm is longer, and has room for little else."""
MOVING = ["resize", "migrate", "live", "evacuate"]
GOING = ["live", "live", "pause", "unpause"]
SLEEPING = ["suspend", "resume", "pause", "unpause", "stop", "start"]
THEMES = (SHELVING, MOVING, GOING, SLEEPING)
"""What some storms are about, so that the rare ends of these are seen, too; others are about everything."""

IDLE = Server.id.not_in(select(SubjectRow.subject_id))
MOVED = select(Server.id).where(Server.vm_state == RESIZED, IDLE).order_by(Server.number)
DOWN = select(Host.name).where(Host.forced_down)


def cloud_settings(folder: Path, dice: Dice) -> Settings:
    """Settings of a cloud that keeps its images in a folder."""
    return Settings(
        state=str(folder),
        build_attempts=2,
        shutdown_timeout_s=10.0,
        plug_timeout_s=10.0,
        shelved_offload_time=dice.pick((0, 5, 5, -1)),
        allow_resize_to_same_host=dice.chance(0.5),
        resize_confirm_window=30.0,
    )


class Clients:
    """Ask for things at any moment; remembers what was accepted."""

    def __init__(self, db: Database, dice: Dice, settings: Settings, servers: int) -> None:
        self._db, self._dice, self._settings, self._left = db, dice, settings, servers
        self._fond = dice.pick(THEMES) if dice.chance(0.4) else list(ACTIONS)
        self.moves = self._fond in (MOVING, GOING)
        self.shelves = self._fond is SHELVING
        self.accepted: set[str] = set()
        self.refused = 0

    def begin(self) -> None:
        """Servers are asked for before the storm."""
        for _ in range(2):
            self._ask(self._create)

    def ask(self) -> None:
        """One request of any kind; it may be refused, or fail with the database."""
        kinds = ["delete", "network", "group", "data", "drop", *self._fond, *self._fond]
        kind = self._dice.pick(["create"] * 4 if self._left and self._dice.chance(0.5) else kinds)
        self._ask(getattr(self, f"_{kind}", lambda session: self._act(session, kind)))

    def _ask(self, request: Callable[[Session], set[str] | None]) -> bool:
        """Whether it was accepted, and heard of."""
        try:
            with self._db.write() as session:
                made = request(session)
        except (PileusError, OperationalError, Contended):
            self.refused += 1
            return False
        self.accepted |= made or set()
        return True

    def _create(self, session: Session) -> set[str]:
        count = self._dice.pick((1, 1, 2))
        self._left = max(0, self._left - count)
        body = {"name": "s", "flavorRef": "42", "imageRef": IMAGE, "max_count": count, "min_count": count}
        asks = self._owner()
        wanted = create.prepare(session, asks, body, {})
        return set(create.accept(session, asks, wanted, time.time()).ids)

    def _any(self, session: Session) -> str | None:
        ids = list(session.scalars(select(Server.id).where(Server.deleted_at.is_(None)).order_by(Server.number)))
        return self._dice.pick(ids) if ids else None

    def _delete(self, session: Session) -> None:
        if server_id := self._any(session):
            delete.request(session, self._owner(), server_id, "os_compute_api:servers:delete")

    def go_on(self) -> None:
        """Whoever has a server that nothing is done to asks for something that its state allows; or a replica keeps
        house."""
        self._ask(self._overdue if self._dice.chance(0.2) else self._fitting)

    def decide(self) -> None:
        """Whoever has a server that was moved confirms or reverts that."""
        self._ask(self._deciding)

    def _deciding(self, session: Session) -> None:
        if moved := session.fetch(MOVED):
            server_id = self._dice.pick(moved).id
            if self._dice.chance(0.15):
                self._reset(session, server_id)
            else:
                self._begin(session, server_id, self._dice.pick(("confirm", "revert")))

    def _reset(self, session: Session, server_id: str) -> None:
        """An administrator resets the state of one that was moved, perhaps when a revert came to nothing."""
        server, asks = servers.held(session, server_id), self._owner()
        assert server is not None
        done = reset.to_active if server.power_state == PowerState.RUNNING else reset.to_error
        done.offer.check(session, server, asks)
        done.run(session, server, None, asks)
        servers.set_state(server, done.transition.after(server.vm_state))

    def _act(self, session: Session, kind: str) -> None:
        if server_id := self._any(session):
            self._begin(session, server_id, kind)

    def _fitting(self, session: Session) -> None:
        placed = Server.host.is_not(None) | (Server.vm_state == SHELVED_OFFLOADED)
        idle = select(Server).where(placed, IDLE)
        if ready := list(session.scalars(idle.order_by(Server.number))):
            held = [one for one in ready if one.vm_state in (PAUSED, SUSPENDED, SHELVED, SHELVED_OFFLOADED)]
            server = self._dice.pick(held * 12 + ready)
            if fitting := [name for name in self._fond if server.vm_state in ACTIONS[name].transition.when]:
                liked = [name for name in fitting for _ in range(LIKED.get(name, 1))]
                self._begin(session, server.id, self._dice.pick(liked))

    def _begin(self, session: Session, server_id: str, kind: str) -> None:
        body: Json = None
        if kind == "rebuild":
            body = {"imageRef": IMAGE}
        elif kind == "createImage":
            body = {"name": "i"}
        elif kind == "resize":
            body = {"flavorRef": self._dice.pick(("42", "84", "d1"))}
        elif kind == "attach":
            body = self._interface(session)
        elif kind == "offload" and self._dice.chance(0.2):  # whose image is deleted just now
            made = session.get(Image, session.get_one(Server, server_id).shelved_image_id or "")
            if made is not None:
                images.delete(session, made, self._owner())
        elif kind == "detach":
            held = [port.id for port in server_ports.of_server(session, server_id)]
            body = {"port_id": self._dice.pick(held or ["none"])}
        asks = self._owner()
        if kind == "evacuate":
            body = self._evacuation(session, asks)
        elif kind == "live":
            body = self._live_migration(session, asks)
        ACTIONS[kind].ask(session, asks, server_id, body)

    def _interface(self, session: Session) -> dict[str, str]:
        """A port of the owner's own, or a new one."""
        own = select(Port.id).where(Port.project_id == PROJECT, Port.created_by_compute.is_(False)).order_by(Port.id)
        return self._dice.pick([{}, {}, *({"port_id": id} for id in session.scalars(own))])

    def _drop(self, session: Session) -> None:
        """An image of a server is deleted, whatever became of it."""
        made = select(Image).where(Image.id != IMAGE).order_by(Image.id)
        if found := list(session.scalars(made)):
            images.delete(session, self._dice.pick(found), self._owner())

    def declare_down(self, host: str) -> None:
        """An operator takes a host for dead."""

        def declare(session: Session) -> None:
            session.lock(allocations.LOCK)
            for row in session.scalars(select(Host).where(Host.name == host)):
                services.change(session, row, Change(forced_down=True))

        self._ask(declare)

    def flee(self) -> None:
        """A server that nothing is done to is evacuated from a host that is down."""

        def ask(session: Session) -> None:
            if not session.fetch(DOWN):
                return
            idle = select(Server).where(Server.host.in_(DOWN), IDLE)
            fits = Server.vm_state.in_(evacuate.evacuate.transition.when)
            if there := list(session.scalars(idle.where(fits).order_by(Server.number))):
                self._begin(session, self._dice.pick(there).id, "evacuate")

        self._ask(ask)

    def give_back(self) -> None:
        """Hosts that were declared down are set up again."""

        def give(session: Session) -> None:
            session.lock(allocations.LOCK)
            for host in session.scalars(select(Host).where(Host.forced_down)):
                services.change(session, host, Change(forced_down=False))

        self._ask(give)

    def _evacuation(self, session: Session, asks: Requester) -> Json:
        """What a client of some release says."""
        asks.version = self._dice.pick(((2, 1), (2, 29), (2, 95)))
        body: dict[str, Json] = {"onSharedStorage": self._dice.chance(0.3)} if asks.version == (2, 1) else {}
        if self._dice.chance(0.2):
            body["host"] = self._dice.pick(["nowhere", *sorted(session.scalars(select(Host.name)))])
            if asks.version == (2, 29):
                body["force"] = self._dice.chance(0.5)
        return body

    def _live_migration(self, session: Session, asks: Requester) -> Json:
        """What a client of some release says; `auto` more often than what one has to know of the storage."""
        asks.version = self._dice.pick(((2, 1), (2, 25), (2, 30), (2, 68)))
        block: Json = self._dice.pick((True, False) if asks.version == (2, 1) else ("auto", "auto", True, False))
        body: dict[str, Json] = {"host": None, "block_migration": block}
        if asks.version == (2, 1):
            body["disk_over_commit"] = False
        if self._dice.chance(0.2) and (hosts := sorted(session.scalars(select(Host.name)))):
            body["host"] = self._dice.pick(hosts)
            if asks.version == (2, 30):
                body["force"] = self._dice.chance(0.5)
        return body

    def steer(self) -> Values | None:
        """A live migration is aborted, or forced to its end; what its source is to be told."""
        told: list[Values] = []

        def steer(session: Session) -> None:
            under_way = select(Migration).where(Migration.type == LIVE, Migration.status.in_(LIVE_OPEN))
            if moves := session.scalars(under_way.order_by(Migration.id)).all():
                move = self._dice.pick(moves)
                server, asks = session.get_one(Server, move.server_id), self._owner()
                asks.version = (2, 65)
                if self._dice.chance(0.5):
                    server_migrations.abort(session, server, str(move.id), asks)
                else:
                    told.append(server_migrations.force_complete(session, server, str(move.id), asks))

        return told[0] if self._ask(steer) and told else None

    def _overdue(self, session: Session) -> None:
        """What housekeeping does of its own accord."""
        for server_id in shelve.overdue(session, self._settings.shelved_offload_time):
            shelve.offload(session, server_id)

    def let_go(self) -> None:
        """Guests that cannot let go of a port because they are held go on: their owners wonder."""
        with self._db.write() as session:
            owing = {row.subject_id for row in open_debts(session) if row.name in ("detach port", "plug port again")}
            held = select(Server).where(Server.id.in_(owing), Server.vm_state.in_((PAUSED, SUSPENDED)))
            for server in list(session.scalars(held)):
                with suppress(PileusError):
                    self._begin(session, server.id, "unpause" if server.vm_state == PAUSED else "resume")

    def _owner(self) -> Requester:
        """A member of the project, with a request of his own."""
        asks = Requester(POLICY, self._settings, f"req-{uuid.uuid4()}")
        asks.caller = CALLER
        return asks

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
