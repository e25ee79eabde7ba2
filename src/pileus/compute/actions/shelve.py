"""Shelve, shelve-offload and unshelve a server (api-ref compute, Servers - run an action; microversions 2.77, 2.91)."""

from __future__ import annotations

from contextlib import suppress

import msgspec
from sqlalchemy import select

from pileus.agent.commands import PowerState, SnapshotGuest, StartGuest, StopGuest
from pileus.api import Requester, Values, changed
from pileus.api.schema import NAME, nullable, obj
from pileus.compute import hosts, notifications, owing, requested, scheduler, servers, spec, zones
from pileus.compute.action import NOTHING, action
from pileus.compute.actions import image
from pileus.compute.actions.building import Way, build_on_some_host
from pileus.compute.actions.delete import LeftBehind, discard_guest
from pileus.compute.model import Server
from pileus.compute.parameters import COPY_S, SLACK_S
from pileus.compute.states import ACTIVE, PAUSED, SHELVED, SHELVED_OFFLOADED, STOPPED, SUSPENDED
from pileus.db import Session, in_seconds, utcnow
from pileus.errors import Conflict
from pileus.image import snapshots
from pileus.network import server_ports
from pileus.operations import Arguments, CommandError, Operation, Origin, debts, recorded, task_states

_RULE = "os_compute_api:os-shelve:"
_TO_HOST = _RULE + "unshelve_to_host"
SHELVING, UPLOADING, OFFLOADING = "shelving", "shelving_image_uploading", "shelving_offloading"
UNSHELVING, SPAWNING = "unshelving", "spawning"
_WHERE = obj(availability_zone=nullable(NAME), host=NAME)
UNSHELVE = changed(
    NOTHING,
    v2_77=nullable(obj(["availability_zone"], availability_zone=NAME)),
    v2_91=nullable(_WHERE),
)


# --- shelve ---------------------------------------------------------------------------------------------------------


@action(
    "shelve",
    rule=_RULE + "shelve",
    when={ACTIVE, STOPPED, PAUSED, SUSPENDED},
    during=(SHELVING, UPLOADING, OFFLOADING),
    then=SHELVED,
    unhindered=owing.alone,  # it is started again where its image comes to nothing
)
def shelve(
    op: Operation,
    server_id: str,
    image_id: str,
    location: str,
    runs: bool,
    offload: bool,
    timeout_s: float,
    plug_timeout_s: float,
) -> None:
    """The guest is off, and an image of its disk is there; it leaves its host at once if it is to `offload`.

    One that `runs` is stopped first, so that all that it has written is in the image, and started again if that comes
    to nothing. A held or saved one loses its memory only when the image is whole.
    """
    host = servers.host_of(server_id)
    off = spec.owed(StopGuest, server_id=server_id, timeout_s=timeout_s)
    copy = spec.owed(SnapshotGuest, server_id=server_id, image_id=image_id, location=location)
    stopped: Values = {}
    try:
        if runs:
            stopped = op.command("power off", host, off, deadline_s=timeout_s + SLACK_S)
        op.step("begin image", snapshots.begin, image_id, then=UPLOADING)
        made = op.command("snapshot guest", host, copy, deadline_s=COPY_S)
        unwanted = forget_image.owed(image_id=image_id)
        op.step("publish image", snapshots.publish, image_id, location, made, undo=unwanted)
        if not runs:
            stopped = op.command("power off", host, off, deadline_s=timeout_s + SLACK_S)
        # The image is the server's from now on.
        op.step(
            "record state",
            shelved,
            server_id,
            image_id,
            stopped,
            offload,
            op.origin,
            then=OFFLOADING,
            forward=True,
            last=not offload,
        )
    except CommandError:
        if runs:
            with suppress(CommandError):  # why it was not shelved is what its owner is told
                on = spec.owed(StartGuest, server_id=server_id, plug_timeout_s=plug_timeout_s)
                op.command("power on", host, on, deadline_s=plug_timeout_s + SLACK_S)
        raise
    if offload:
        _leave(op, server_id)


@shelve.prepared
def _shelve(session: Session, server: Server, body: object, asks: Requester) -> Arguments:
    """The image is there at once, queued: its owner's, whoever asks for it.

    Raises:
        What creating an image raises.
    """
    made = image.prepared_for(session, server, asks, {}, name=f"{server.name}-shelved", owner=server.project_id)
    settings = asks.settings
    notifications.action(session, server, servers.origin(server, asks), "shelve.start", task_state=SHELVING)
    return shelve.arguments(
        server.id,
        image_id=made.id,
        location=snapshots.location(settings, made.id),
        runs=server.vm_state == ACTIVE,
        offload=settings.shelved_offload_time == 0,
        timeout_s=settings.shutdown_timeout_s,
        plug_timeout_s=settings.plug_timeout_s,
    )


shelve.undone(image.dropped)


@recorded("forget image")
def forget_image(session: Session, image_id: str) -> None:
    """The server was not shelved after all; idempotent."""
    snapshots.forget(session, [image_id])


def shelved(session: Session, server_id: str, image_id: str, stopped: Values, offload: bool, origin: Origin) -> Values:
    """The server can come back from the image; whether it is to leave its host now.

    Raises:
        Conflict: the image was deleted meanwhile.
    """
    snapshots.require(session, image_id)
    with shelve.arriving(session, server_id, stopped) as server:
        former, server.shelved_image_id = server.shelved_image_id, image_id
        server.shelved_at = in_seconds(0)
        told = notifications.step(session, server, origin, "shelve.end", task_state=OFFLOADING if offload else None)
    if former:  # it was mended, after a failed delete, or by hand
        snapshots.forget(session, [former])
    return told


# --- leave the host -------------------------------------------------------------------------------------------------


@action(
    "shelveOffload",
    rule=_RULE + "shelve_offload",
    name="shelveOffload",
    when={SHELVED},
    during=(OFFLOADING,),
    then=SHELVED_OFFLOADED,
)
def shelve_offload(op: Operation, server_id: str) -> None:
    """Nothing of the server is left on its host, now or as soon as that can do it; its ports stay its own."""
    _leave(op, server_id)


def _leave(op: Operation, server_id: str) -> None:
    place = op.step("find host", find_host, server_id, op.origin)
    left_behind = discard_guest(op, server_id, place["host"], place.get("incarnation", 0), condemned=True)
    op.step("leave host", leave, server_id, place["host"], left_behind, op.origin, last=True)


def find_host(session: Session, server_id: str, origin: Origin) -> Values:
    """The host that the server is on, and its guest's incarnation.

    Raises:
        Conflict: its image was deleted: the guest's disk is all that there is.
    """
    server = session.get_one(Server, server_id)
    snapshots.require(session, server.shelved_image_id or "")
    found = {"host": server.host, "incarnation": server.incarnation}
    return notifications.step(session, server, origin, "shelve_offload.start", found, task_state=OFFLOADING)


def leave(session: Session, server_id: str, host: str, left_behind: LeftBehind | None, origin: Origin) -> Values:
    """The claim and the binding of its ports go; a host that did not give the guest up is owed the discarding."""
    scheduler.release(session, server_id)
    with shelve_offload.arriving(session, server_id, {"power_state": PowerState.SHUTDOWN}) as server:
        server.host = server.news = server.shelved_at = None
        told = notifications.step(session, server, origin, "shelve_offload.end", by=notifications.on(host))
    server_ports.unbind_all(session, server_id, origin.request_id)
    if left_behind:
        host, discard = left_behind
        debts.owe(session, host, server_id, discard, origin.request_id)
    return told


def overdue(session: Session, after_s: float) -> list[str]:
    """The servers that were shelved so many seconds ago and are still on their hosts; none if that is not positive."""
    if after_s <= 0:
        return []
    return list(session.scalars(select(Server.id).where(Server.shelved_at <= in_seconds(-after_s))))


def offload(session: Session, server_id: str) -> None:
    """Have a shelved server leave its host, unless something else is done to it. If that fails, it is overdue again
    after as long a time."""
    server = servers.held(session, server_id)
    if server is None or task_states(session, [server_id]):
        return
    if server.vm_state == SHELVED:
        shelve_offload.start(session, servers.own_origin(server), server_id)
    server.shelved_at = in_seconds(0) if server.vm_state == SHELVED else None  # an administrator reset its state


# --- unshelve -------------------------------------------------------------------------------------------------------


@action(
    "unshelve",
    rule=_RULE + "unshelve",
    asks=(_TO_HOST,),
    body=UNSHELVE,
    when={SHELVED, SHELVED_OFFLOADED},
    during=(UNSHELVING, SPAWNING),
    then=ACTIVE,
    placed=False,
    unhindered=owing.alone,
)
def unshelve(
    op: Operation, server_id: str, image: Values | None, attempts: int, plug_timeout_s: float, deadline_s: float
) -> None:
    """On the host that it is still on, or built of its image (id and snapshot) on one that is chosen now."""
    if image is None:
        on = spec.owed(StartGuest, server_id=server_id, plug_timeout_s=plug_timeout_s)
        done = op.command("power on", servers.host_of(server_id), on, deadline_s=plug_timeout_s + SLACK_S)
    else:
        way = Way(
            attempts=attempts,
            connect=("bind ports", bind_ports),
            disconnect=unbind_ports.owed(server_id=server_id),
            build=spec.build_of.owed(server_id=server_id, plug_timeout_s=plug_timeout_s, **image),
            deadline_s=deadline_s,
            shows=(UNSHELVING, UNSHELVING, SPAWNING),
        )
        done = build_on_some_host(op, server_id, way)
    op.step("record state", unshelved, server_id, done, image is not None, op.origin, last=True)


@unshelve.prepared
def _unshelve(session: Session, server: Server, body: Values | None, asks: Requester) -> Arguments:
    """One that is on no host is from now on pinned to the zone, and to go to the host, that the body names.

    Raises:
        Conflict: it need not be placed, or is not to be where it is pinned to; its image is gone. Invalid: there is no
            such zone or host. Forbidden.
    """
    settings = asks.settings
    where = body if body and asks.at_least("2.77") else {}
    source: Values | None = None
    if server.vm_state == SHELVED_OFFLOADED:
        _choose(session, server, where, asks)
        found = snapshots.require(session, server.shelved_image_id or "")
        source = {"image_id": found.id, "image": msgspec.to_builtins(requested.image_snapshot(settings, found))}
    elif where:
        raise Conflict(
            f'Specifying an availability zone or a host when unshelving server "{server.id}" with status '
            f'"{server.vm_state}" is not supported. The server status must be SHELVED_OFFLOADED.'
        )
    else:
        notifications.action(session, server, servers.origin(server, asks), "unshelve.start", task_state=UNSHELVING)
    return unshelve.arguments(
        server.id,
        image=source,
        attempts=1 if where.get("host") else settings.build_attempts,
        plug_timeout_s=settings.plug_timeout_s,
        deadline_s=settings.build_timeout_s,
    )


def _choose(session: Session, server: Server, where: Values, asks: Requester) -> None:
    """Take over what a body says of zone and host; what the server was made with holds for the zone alone."""
    zone = where.get("availability_zone", server.availability_zone)
    if zone is not None and "availability_zone" in where:
        zones.require(session, zone)
    wanted = where.get("host")
    if wanted is not None:
        asks.require(_TO_HOST, servers.target(server))
        host = hosts.named(session, wanted)
        if zone is not None and host.zone != zone:
            raise Conflict(f'Host "{wanted}" is not in the availability zone "{zone}".')
    server.availability_zone, server.requested_host = zone, wanted


def bind_ports(session: Session, server_id: str, host: str, origin: Origin) -> Values:
    """The network learns where the server's ports are now."""
    bound = {"ports": server_ports.bind_all(session, server_id, host, origin.request_id)}
    return notifications.step(
        session, session.get_one(Server, server_id), origin, "unshelve.start", bound, task_state=UNSHELVING
    )


@recorded("unbind ports")
def unbind_ports(session: Session, server_id: str) -> None:
    """The server did not come to its host; idempotent."""
    server_ports.unbind_all(session, server_id)


def unshelved(session: Session, server_id: str, done: Values, built: bool, origin: Origin) -> Values:
    """The guest runs; the image has done its work."""
    with unshelve.arriving(session, server_id, done) as server:
        image_id, server.shelved_image_id, server.shelved_at = server.shelved_image_id, None, None
        if built:
            server.launched_at = utcnow()
        server_ports.set_up(session, [server.id], True)
        told = notifications.step(session, server, origin, "unshelve.end")
    snapshots.forget(session, [image_id] if image_id else [])
    return told
