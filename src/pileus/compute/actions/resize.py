"""Resize and cold migrate a server (api-ref compute, Resize Server, Migrate Server); see confirm.py and revert.py.

A move is undone as far as it came: the server is on its source again, as it was. Only one of its two guests ever runs:
the source's is off before the destination's is made, and is not started again before that is known to be gone.
"""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from pileus.agent.commands import ReceiveGuest
from pileus.api import Requester, Values, changed
from pileus.api.schema import nullable, obj
from pileus.compute import (
    cold_moves,
    flavors,
    hosts,
    migrations,
    notifications,
    owing,
    quotas,
    requested,
    schemas,
    servers,
    spec,
)
from pileus.compute.action import action
from pileus.compute.actions.attempts import Final, on_some_host
from pileus.compute.incarnations import Incarnations
from pileus.compute.migration_model import (
    MIGRATION,
    RESIZE,
    Migration,
)
from pileus.compute.model import Server
from pileus.compute.parameters import COPY_S, SLACK_S
from pileus.compute.scheduler import Destination
from pileus.compute.states import (
    ACTIVE,
    RESIZE_FINISH,
    RESIZE_MIGRATED,
    RESIZE_MIGRATING,
    RESIZE_PREP,
    RESIZED,
    RESIZING,
    STOPPED,
)
from pileus.db import Session
from pileus.errors import Invalid
from pileus.operations import Arguments, Asked, CommandError, Operation, Origin
from pileus.operations.steps import Diverged

_SERVERS = "os_compute_api:servers:"
_MIGRATE = "os_compute_api:os-migrate-server:migrate"
_RESIZE: Values = {
    "flavorRef": {"type": ["string", "integer"], "minLength": 1},
    "OS-DCF:diskConfig": schemas.DISK_CONFIG,
}


def _move(
    op: Operation,
    server_id: str,
    move_id: int,
    source: str,
    excluded: list[str],
    host: str | None,
    set_aside: int,
    run: bool,
    timeout_s: float,
    plug_timeout_s: float,
    attempts: int = 1,
) -> None:
    """From the request to VERIFY_RESIZE, on another host; a server that is off stays off. A destination that fails is
    left for the next best: the server is back on its source, as it was, before that is tried.

    Args:
        source: the host that the server is on. excluded: hosts that it must not go to. host: the only one that it may.
        set_aside: incarnation of the guest on the source, from the move's beginning on.
        run: whether the guest is to run in the end.
        timeout_s: how long it may take to shut down. plug_timeout_s: how long its ports may take to come up.
        attempts: how many destinations are tried at most; operations of release 0008 and before try one.
    """
    to, guests = Destination(excluded, host), Incarnations(set_aside)
    move = ColdMove(op, server_id, move_id, source, to, guests, run, timeout_s, plug_timeout_s)
    done = on_some_host(op, attempts, move.place, move.go, move.leave, "Moving")
    op.step("record state", _moved, server_id, move_id, done, op.origin, last=True)


class ColdMove(msgspec.Struct):
    """A move that is under way: what it does on each host that it tries; see `_move`.

    Attributes:
        to: where it may go. guests: those of the host of now.
    """

    op: Operation
    server_id: str
    move_id: int
    source: str
    to: Destination
    guests: Incarnations
    run: bool
    timeout_s: float
    plug_timeout_s: float

    def place(self, failed: list[str]) -> Values:
        """Claim a host."""
        return self.op.step(
            "schedule",
            cold_moves.schedule,
            self.server_id,
            self.move_id,
            replace(self.to, excluded=(*self.to.excluded, *failed)),
            self.op.origin,
            undo=migrations.unschedule.owed(server_id=self.server_id, move_id=self.move_id),
            then=RESIZE_MIGRATING,
            ahead=self._set_aside(),
        )

    def go(self, placed: Values) -> Values:
        """Have the guest be there. Only what fails on that host may go better on another."""
        try:
            kept = self.op.ask(self._set_aside())
            finish = self._depart(placed, kept)
        except Diverged:
            raise
        except CommandError as error:
            raise Final(error.code, error.message) from error
        return self.op.ask(finish)

    def _set_aside(self) -> Asked:
        """The source's part: the guest is shut down and set aside."""
        back = spec.restore.owed(
            server_id=self.server_id,
            host=self.source,
            set_aside=self.guests.source,
            plug_timeout_s=self.plug_timeout_s,
        )
        command = spec.stash.owed(server_id=self.server_id, timeout_s=self.timeout_s)
        deadline_s = self.timeout_s + SLACK_S
        return Asked("migrate disk and power off", self.source, command, undo=back, deadline_s=deadline_s)

    def _depart(self, placed: Values, kept: Values) -> Asked:
        """The server is on its destination from now on, and its ports are; the command that follows."""
        op, server_id, move_id = self.op, self.server_id, self.move_id
        back = cold_moves.come_back.owed(server_id=server_id, move_id=move_id)
        op.step("move server", cold_moves.depart, server_id, move_id, op.origin, undo=back, then=RESIZE_MIGRATED)
        finish = self._finish(placed, kept)
        request_id = op.origin.request_id
        bound = cold_moves.bind_back.owed(server_id=server_id, host=self.source, up=self.run, request_id=request_id)
        op.step("bind ports", cold_moves.bind_ports, server_id, op.origin, undo=bound, then=RESIZE_FINISH, ahead=finish)
        return finish

    def _finish(self, placed: Values, kept: Values) -> Asked:
        """The destination's part: a guest is made of what was set aside."""
        command = spec.owed(
            ReceiveGuest,
            server_id=self.server_id,
            source=self.source,
            address=placed["address"],
            keys=placed.get("keys", []),
            set_aside=self.guests.source,
            files=kept.get("files", []),
            base=kept.get("base", ""),
            run=self.run,
            plug_timeout_s=self.plug_timeout_s,
        )
        gone = spec.discard.owed(server_id=self.server_id, incarnation=self.guests.dest, stash=False, may_run=True)
        return Asked("finish on destination", placed["host"], command, undo=gone, deadline_s=COPY_S)

    def leave(self) -> bool:
        """It failed there, and is undone; whether it may be tried elsewhere."""
        tried, self.guests = self.guests, self.guests.again()
        left = self.op.step("leave host", cold_moves.leave, self.server_id, self.move_id, tried, then=RESIZE_PREP)
        return bool(left["again"])


def _tell(session: Session, server: Server, origin: Origin, error: dict[str, str]) -> None:
    notifications.action(session, server, origin, "resize.error", error)


resize = action(
    "resize",
    rule=_SERVERS + "resize",
    asks=(_SERVERS + "create:zero_disk_flavor",),
    name="resize",
    body=obj(["flavorRef"], **_RESIZE),
    when={ACTIVE, STOPPED},
    during=RESIZING,
    then=RESIZED,
    unhindered=owing.settled,
    counts=True,
    also=_tell,
)(_move)
migrate = action(
    "migrate",
    rule=_MIGRATE,
    name="migrate",
    asks=(_MIGRATE + ":host",),
    body=changed({}, v2_56=nullable(obj(host=nullable(schemas.HOST)))),
    when={ACTIVE, STOPPED},
    during=RESIZING,
    then=RESIZED,
    unhindered=owing.settled,
    also=_tell,
)(_move)


@resize.prepared
def _resizing(session: Session, server: Server, body: Values, asks: Requester) -> Arguments:
    """Take the quota of what the flavor has more.

    Raises:
        Conflict: its host is down. Invalid: the flavor is none that the server can get. QuotaExceeded. Forbidden.
    """
    hosts.require_up(session, server.host)
    flavor = flavors.snapshot(requested.usable_flavor(session, asks, body["flavorRef"]))
    requested.check_sizes(server.flavor, flavor)
    more = (flavor.vcpus - server.flavor.vcpus, flavor.ram - server.flavor.ram)
    quotas.take_difference(session, server.project_id, *more)
    requested.check_fit(asks, flavor, server.image, servers.target(server))
    server.disk_config = body.get("OS-DCF:diskConfig", server.disk_config)
    move = migrations.begin(session, server, RESIZE, asks, flavor)
    excluded = [] if asks.settings.allow_resize_to_same_host else [move.source_host]
    return _arguments(server, move, excluded, None, asks)


@migrate.prepared
def _migrating(session: Session, server: Server, body: object, asks: Requester) -> Arguments:
    """Raises Invalid: the host that is asked for is none, or the server's own. Forbidden: asking for one is. Conflict:
    its host is down."""
    host = body.get("host") if isinstance(body, dict) and asks.at_least("2.56") else None
    if host is not None:
        asks.require(_MIGRATE + ":host", servers.target(server))
    hosts.require_up(session, server.host)
    if host is not None:
        hosts.named(session, host)
        if host == server.host:
            raise Invalid("Cannot migrate to the host where the server exists.")
    move = migrations.begin(session, server, MIGRATION, asks)
    return _arguments(server, move, [move.source_host], host, asks)


def _arguments(server: Server, move: Migration, excluded: list[str], host: str | None, asks: Requester) -> Arguments:
    return resize.arguments(
        server.id,
        move.id,
        source=move.source_host,
        excluded=excluded,
        host=host,
        set_aside=server.next_incarnation,
        run=server.vm_state == ACTIVE,
        timeout_s=asks.settings.shutdown_timeout_s,
        plug_timeout_s=asks.settings.plug_timeout_s,
        attempts=1 if host else asks.settings.build_attempts,
    )


resize.undone(migrations.given_up)
migrate.undone(migrations.given_up)


def _moved(session: Session, server_id: str, move_id: int, done: Values, origin: Origin) -> Values:
    """The guest is there."""
    with resize.arriving(session, server_id, done) as server:
        return cold_moves.finish(session, server, move_id, origin)
