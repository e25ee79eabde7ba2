"""Boot a server: schedule and claim, allocate network, build the guest, activate (api-ref compute, Create Server)."""

from __future__ import annotations

from typing import Any

from pileus.agent.commands import BuildGuest
from pileus.compute import notifications, scheduler, spec
from pileus.compute.action import action
from pileus.compute.actions.building import Way, build_on_some_host
from pileus.compute.model import Server
from pileus.compute.states import ACTIVE, BUILDING, ERROR
from pileus.db import Session, utcnow
from pileus.db.among import among
from pileus.db.reading import Reader
from pileus.jsontypes import Values
from pileus.network import server_ports
from pileus.network.server_ports import Want
from pileus.operations import CommandError, Operation, Origin, recorded
from pileus.operations.groups import apart, grouped

_SERVERS = Reader(Server)
_NAMED = _SERVERS.query.where(among(Server.id, "ids"))
SHOWS = ("scheduling", "networking", "spawning")


def show(session: Session, server: Server, origin: Origin, error: dict[str, str]) -> None:
    """No host could build it: nothing of a guest is left, and whoever listens is told."""
    server.power_state = 0
    notifications.create(session, [(server, origin)], "error", error)


@action(
    None,
    rule="os_compute_api:servers:create",
    when={BUILDING},
    during=SHOWS,
    then=ACTIVE,
    failed=ERROR,
    also=show,
)
def boot(op: Operation, server_id: str, attempts: int, plug_timeout_s: float, deadline_s: float = 1800.0) -> None:
    """From 202 to ACTIVE; a host that fails is left for the next best, `attempts` hosts in all."""
    way = Way(
        attempts=attempts,
        connect=("allocate network", allocate_network),
        disconnect=give_up_network.owed(server_id=server_id),
        build=spec.owed(BuildGuest, server_id=server_id, plug_timeout_s=plug_timeout_s),
        deadline_s=deadline_s,
        shows=SHOWS,
    )
    built = build_on_some_host(op, server_id, way)
    op.step("activate", activate, server_id, built, op.origin, last=True)


@grouped(limit=scheduler.PASS_SIZE)
def allocate_network(session: Session, calls: list[tuple[Any, ...]]) -> list[Values | CommandError]:
    """Ports with MAC and addresses, bound to the hosts; what was requested by port is only bound.

    Args:
        calls: (server id, host, the request's origin) of each.
    """
    ids = [server_id for server_id, _, _ in calls]
    servers = {row.id: row for row in _SERVERS.fetch(session, _NAMED, {"ids": ids})}
    wants = [_want(servers[server_id], host, origin) for server_id, host, origin in calls]
    made = apart(session, wants, server_ports.allocate)
    given = [
        (servers[server_id], origin)
        for (server_id, _, origin), ids in zip(calls, made, strict=True)
        if not isinstance(ids, CommandError)
    ]
    told = notifications.create(session, given, "start")
    return [ids if isinstance(ids, CommandError) else {"ports": ids, "_events": [told]} for ids in made]


def _want(server: Server, host: str, origin: Origin) -> Want:
    return Want(
        server.id,
        server.project_id,
        host,
        server.networks,
        server.security_groups,
        server.hostname,
        origin.request_id,
    )


@recorded("give up network")
def give_up_network(session: Session, server_id: str) -> None:
    """Ports made for the server go, the owner's own are unbound."""
    server_ports.release(session, {server_id: ""})


@grouped(limit=scheduler.PASS_SIZE)
def activate(session: Session, calls: list[tuple[Any, ...]]) -> list[Values | CommandError]:
    """The guests run: the servers are ACTIVE.

    Args:
        calls: (server id, what its host said, the request's origin) of each.
    """
    with boot.all_arriving(session, {server_id: built for server_id, built, _ in calls}) as held:
        for server in held.values():
            server.launched_at = utcnow()
            server.admin_pass = None
        server_ports.set_up(session, held, True)
        told = notifications.create(session, [(held[server_id], origin) for server_id, _, origin in calls], "end")
    return [{"_events": [told]} for _ in calls]
