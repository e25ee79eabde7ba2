"""Evacuate a server from a dead host (api-ref compute, Evacuate Server).

Everything is made ready on another host first. Then the dead one is fenced, in one commit: the server is elsewhere, and
its former host owes us the discarding of its copy. Past that nothing is undone; before, the server is as it was.
"""

from __future__ import annotations

from pileus.agent.commands import TakeOverGuest
from pileus.api import Requester, Values, changed, since, until
from pileus.api.schema import BOOLEAN, obj
from pileus.compute import evacuations, migrations, notifications, requested, schemas, servers, spec, views
from pileus.compute.action import action
from pileus.compute.actions.attempts import on_some_host
from pileus.compute.migration_model import EVACUATION
from pileus.compute.model import Host, Server
from pileus.compute.parameters import SLACK_S
from pileus.compute.scheduler import Destination
from pileus.compute.states import ACTIVE, ADOPTED, ERROR, REBUILD_SPAWNING, REBUILDING, STOPPED
from pileus.db import Session, utcnow
from pileus.errors import Invalid, NotFound
from pileus.network import server_ports
from pileus.operations import Arguments, Asked, Operation
from pileus.values import truth

_FIELDS: Values = {
    "host": schemas.HOST,
    "adminPass": {"type": "string"},
    "onSharedStorage": until("2.13", BOOLEAN),
    "force": since("2.29", until("2.67", BOOLEAN)),
}


@action(
    "evacuate",
    rule="os_compute_api:os-evacuate",
    body=obj(changed(["onSharedStorage"], v2_14=[]), **_FIELDS),
    when={ACTIVE, STOPPED, ERROR},
    during=(REBUILDING, REBUILD_SPAWNING),
    then={ACTIVE: ACTIVE, STOPPED: STOPPED, ERROR: ACTIVE},
    status=200,
    also=evacuations.failed,
    answer=views.evacuated,
)
def evacuate(
    op: Operation,
    server_id: str,
    move_id: int,
    incarnation: int,
    host: str | None,
    forced: bool,
    shared: bool | None,
    run: bool,
    attempts: int,
    plug_timeout_s: float,
    deadline_s: float,
) -> None:
    """From a dead host to another, with its disk where that is on storage that both see, made anew elsewhere.

    Args:
        incarnation: of the guest to be made. host: the only one that it may go to; forced: whatever the scheduler says.
        shared: whether its disk has to be on shared storage, or must not be; None: as it is found.
        run: whether the guest is to run in the end.
    """

    def place(excluded: list[str]) -> Values:
        back = migrations.unschedule.owed(server_id=server_id, move_id=move_id)
        to = Destination(excluded, host, forced)
        return op.step("schedule", evacuations.schedule, server_id, move_id, to, undo=back)

    def use(placed: Values) -> Values:
        gone = spec.discard.owed(server_id=server_id, incarnation=incarnation)
        command = spec.prepare.owed(
            server_id=server_id, incarnation=incarnation, shared=shared, plug_timeout_s=plug_timeout_s
        )
        return op.ask(Asked("prepare guest", placed["host"], command, undo=gone, deadline_s=deadline_s))

    def leave() -> bool:
        op.step("leave host", migrations.unschedule, server_id, move_id)
        return True

    kept = bool(on_some_host(op, attempts, place, use, leave, "Evacuating").get("shared"))
    fenced = op.step(
        "fence source",
        evacuations.fence,
        server_id,
        move_id,
        kept,
        op.origin,
        then=REBUILD_SPAWNING,
        forward=True,
    )
    run = run and fenced["alone"]
    take = spec.owed(TakeOverGuest, server_id=server_id, run=run, plug_timeout_s=plug_timeout_s)
    done = op.command("take over guest", servers.host_of(server_id), take, deadline_s=plug_timeout_s + SLACK_S)
    op.step("record state", _arrived, server_id, done, last=True)


@evacuate.judged
def _judge(session: Session, server: Server, body: Values, asks: Requester) -> None:
    """Raises Invalid: it contradicts itself, or names the server's own host. NotFound: there is no such host."""
    host = body.get("host")
    if truth(body.get("force", False)) and host is None:
        raise Invalid("Can't force to a non-provided destination")
    if _shared(body) and "adminPass" in body:
        raise Invalid("admin password can't be changed on existing disk")
    if host is not None and session.get(Host, host) is None:
        raise NotFound(f"Compute host {host} not found.")
    if host is not None and host == server.host:
        raise Invalid("The target host can't be the same one.")


def _shared(body: Values) -> bool | None:
    """Whether its disk is said to be on shared storage; nothing is said of that from 2.14 on."""
    return truth(body["onSharedStorage"]) if "onSharedStorage" in body else None


@evacuate.prepared
def _prepare(session: Session, server: Server, body: Values, asks: Requester) -> Arguments:
    """Raises Invalid: its host is in use."""
    host, shared = body.get("host"), _shared(body)
    # Up to 2.28 a host that was named was not asked about.
    forced = truth(body.get("force", False)) if asks.at_least("2.29") else host is not None
    evacuations.require_dead(session, server.host)
    server.admin_pass = None if shared else body.get("adminPass") or requested.new_password()
    move = migrations.begin(session, server, EVACUATION, asks)
    move.dest_host, server.prepared = host, server.next_incarnation
    api = f"nova-api:{asks.settings.replica_id}"
    notifications.action(session, server, servers.origin(server, asks), "evacuate", by=api, task_state=REBUILDING)
    return evacuate.arguments(
        server.id,
        move.id,
        incarnation=server.prepared,
        host=host,
        forced=forced,
        shared=shared,
        run=server.vm_state != STOPPED and not asks.at_least("2.95"),
        attempts=1 if host else asks.settings.build_attempts,
        plug_timeout_s=asks.settings.plug_timeout_s,
        deadline_s=asks.settings.build_timeout_s,
    )


evacuate.undone(migrations.given_up)


def _arrived(session: Session, server_id: str, done: Values) -> None:
    """The guest is there, and runs as its host says: one that was not to run may have been run by hand."""
    with evacuate.arriving(session, server_id, done) as server:
        server.vm_state = ADOPTED.get(server.power_state, STOPPED)
        server.admin_pass = None
        server.launched_at = utcnow()
        server_ports.set_up(session, [server.id], server.vm_state == ACTIVE)
