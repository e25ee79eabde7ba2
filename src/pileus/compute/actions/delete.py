"""Delete a server: discard the guest, give back ports and resources."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select

from pileus.api import Requester
from pileus.compute import migrations, scheduler, spec
from pileus.compute.action import action
from pileus.compute.model import Server
from pileus.compute.states import ANY, DELETED, ERROR
from pileus.db import Session, utcnow
from pileus.image import snapshots
from pileus.jsontypes import Values
from pileus.network import server_ports
from pileus.operations import CommandError, Operation, Owed
from pileus.operations.debts import Owing, owe_all
from pileus.operations.groups import grouped

LeftBehind = tuple[str, Owed]
"""A host, and what it is owed."""


@action(
    "forceDelete",
    rule="os_compute_api:os-deferred-delete:force",
    when=ANY,
    during=("deleting",),
    then=DELETED,
    failed=ERROR,
    wins=True,
    placed=False,
)
def delete(op: Operation, server_id: str) -> None:
    """From the request to 404. A host that does not answer is left behind: it is owed the discarding of the guest."""
    place = op.step("find host", find_host, server_id)
    hosts = [host for host in (place["host"], *place.get("moving", ())) if host]  # before 0008 none was journaled
    incarnation = place.get("incarnation", 0)  # release 0001 journaled none
    left_behind = [left for host in hosts if (left := discard_guest(op, server_id, host, incarnation))]
    op.step("release", release, server_id, left_behind, op.origin, last=True)


def discard_guest(
    op: Operation, server_id: str, host: str, incarnation: int, *, condemned: bool = False, kept: bool = False
) -> LeftBehind | None:
    """Have a guest removed from a host; one that does not answer is to be owed what is given back.

    Args:
        incarnation: of the guest; older ones go with it.
        condemned: nobody needs the guest any more: so is one that cannot do it now. kept: see spec.discard.

    Raises:
        CommandError: the host said why it could not.
    """
    discard = spec.discard.owed(server_id=server_id, incarnation=incarnation, kept=kept)
    try:
        op.command("discard guest", host, discard)
    except CommandError as error:
        if error.code != "host-down" and not condemned:
            raise
        return (host, discard)
    return None


def request(session: Session, asks: Requester, server_id: str, rule: str) -> None:
    """As forceDelete: deletes are never put off here. Whatever is under way is cancelled and undone first.

    Raises:
        NotFound: no such server for the caller. Forbidden. Conflict: it is locked.
    """
    delete.ask(session, asks, server_id, rule=rule)


@grouped(limit=scheduler.PASS_SIZE)
def find_host(session: Session, calls: list[tuple[Any, ...]]) -> list[Values | CommandError]:
    """The hosts that servers are on, if they ever got that far, and the others that moves have them on.

    Args:
        calls: (server id) of each.
    """
    ids = [server_id for (server_id,) in calls]
    rows = session.execute(select(Server.id, Server.host, Server.incarnation).where(Server.id.in_(ids)))
    found: dict[str, Values] = {row.id: {"host": row.host, "incarnation": row.incarnation} for row in rows}
    for move in migrations.all_open(session, ids):
        place = found[move.server_id]
        others = {move.source_host, move.dest_host or move.source_host, *place.get("moving", ())} - {place["host"]}
        if others:
            place["moving"] = sorted(others)
    return [found[server_id] for server_id in ids]


@grouped(limit=scheduler.PASS_SIZE)
def release(session: Session, calls: list[tuple[Any, ...]]) -> list[Values | CommandError]:
    """Ports, allocations, images of shelved servers, and servers go in one commit; who did not answer is owed the
    discarding.

    Args:
        calls: (server id, each (host, discarding) that is owed, the request's origin) of each.
    """
    ids = [server_id for server_id, _, _ in calls]
    open_moves = migrations.all_open(session, ids)
    scheduler.release_all(session, ids, also=[move.uuid for move in open_moves])
    with delete.all_arriving(session, {server_id: {"power_state": 0} for server_id in ids}) as held:
        images = {server.shelved_image_id for server in held.values() if server.shelved_image_id}
        for server in held.values():
            server.host = server.admin_pass = server.news = server.shelved_image_id = server.shelved_at = None
            server.deleted_at = utcnow()
        server_ports.release(session, {server_id: origin.request_id for server_id, _, origin in calls})
    if images:
        snapshots.forget(session, images)
    for move in open_moves:
        migrations.confirmed(move)
    owe_all(
        session,
        [
            Owing(host, server_id, discard, origin.request_id)
            for server_id, left_behind, origin in calls
            for host, discard in left_behind
        ],
    )
    return [{} for _ in calls]
