"""Unknown guests: what hosts report and no server accounts for. An operator adopts or discards each."""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec
from sqlalchemy import delete, func, select

from pileus.agent.commands import GuestSpec, InstanceData, PowerState
from pileus.compute import flavors, keypairs, spec
from pileus.compute.model import Flavor, Host, Server, UnknownGuest
from pileus.compute.scheduler.place import request_of
from pileus.compute.snapshots import FlavorSnapshot, ImageSnapshot, KeySnapshot
from pileus.compute.states import ADOPTED, STOPPED
from pileus.db import Session, new_id, utcnow
from pileus.errors import Conflict, Invalid, NotFound
from pileus.identity import rows
from pileus.identity.model import Project, User
from pileus.network import regain, server_ports
from pileus.network.requests import NetworkRequest
from pileus.operations import Origin, debts, live, note
from pileus.operations.model import DebtRow
from pileus.placement import allocations
from pileus.placement.allocations import Claim


class Adopted(msgspec.Struct):
    """What came of an adoption: the server, and a sentence for each thing the guest had and the server has not."""

    server: Server
    ports: int = 0
    lost: list[str] = []


def everyone(session: Session) -> Sequence[UnknownGuest]:
    """Every unknown guest, those known longest first."""
    query = select(UnknownGuest).order_by(UnknownGuest.first_seen, UnknownGuest.host, UnknownGuest.server_id)
    return session.scalars(query).all()


def hosts_of(session: Session, server_id: str) -> Sequence[str]:
    """The hosts that report an unknown guest of this id."""
    return session.scalars(select(UnknownGuest.host).where(UnknownGuest.server_id == server_id)).all()


def get(session: Session, host: str, server_id: str) -> UnknownGuest:
    """Raises NotFound: the host reports no such unknown guest."""
    guest = session.get(UnknownGuest, (host, server_id))
    if guest is None:
        raise NotFound(f"Host {host} reports no unknown guest {server_id}.")
    return guest


def discard(session: Session, host: str, server_id: str) -> None:
    """Condemn an unknown guest: its host is owed the discarding, and does it as soon as it can.

    Raises:
        NotFound: there is no such guest. Conflict: it is the guest of a server.
    """
    _alone(session, server_id)
    guest = get(session, host, server_id)
    server = _live(session, server_id)
    if server is not None and server.host == host and not 0 < guest.incarnation < server.incarnation:
        newer = guest.incarnation > server.incarnation
        hint = "it is newer than the database knows: adopt it, or delete the server first" if newer else "delete that"
        raise Conflict(f"This is the guest of server {server_id}; {hint}.")
    debts.owe(session, host, server_id, spec.discard.owed(server_id=server_id, incarnation=guest.incarnation))
    session.delete(guest)


def adopt(
    session: Session,
    host: str,
    server_id: str,
    told: GuestSpec,
    request_id: str,
    *,
    project: str | None = None,
    flavor: str | None = None,
    user: str = "admin",
) -> Adopted:
    """Make a server of an unknown guest, as it is: nothing of the guest is touched.

    A server that the database knows in an older incarnation on this host (of a restored backup) is given its guest
    back; every other guest becomes a new server with the guest's own id.

    Args:
        told: what the guest was last built with, as its host remembers it.
        project: id or name; the guest's own project unless given.
        flavor: id or name; the flavor of the guest's sizes, or none, unless given.
        user: id or name of the server's user.

    Raises:
        NotFound: there is no such guest, project, flavor or user. Conflict: it is condemned, or another server's.
        Invalid: the guest's own project does not exist, or the flavor's disks are not the guest's.
    """
    _alone(session, server_id)
    guest = get(session, host, server_id)
    if told.server_id != server_id:
        raise Conflict(f"Host {host} remembers {told.server_id} under the name of {server_id}.")
    _check(told)
    _require_uncondemned(session, host, server_id)
    origin = Origin(request_id, rows.named(session, User, user).id, _project(session, told, project))
    server = _live(session, server_id)
    adopted = _give_back(session, server, guest, origin) if server else _make(session, guest, told, origin, flavor)
    debts.owe(session, host, server_id, spec.update_data.owed(server_id=server_id, host=host), request_id)
    session.delete(guest)
    return adopted


def _check(told: GuestSpec) -> None:
    """Raises Invalid: the host remembers what no server of ours can have had."""
    sizes = (told.vcpus, told.memory_mib, told.root_gib, told.ephemeral_gib, told.swap_mib)
    texts = (told.data.name, told.data.hostname, told.instance_name)
    if told.vcpus < 1 or told.memory_mib < 1 or any(not 0 <= size < 2**31 for size in sizes):
        raise Invalid("The guest's sizes, as its host remembers them, are none that a flavor can have.")
    if any(len(text) > 255 or not text.isprintable() for text in texts):
        raise Invalid("The guest's name, as its host remembers it, is none that a server can have.")


def _alone(session: Session, server_id: str) -> None:
    """Nobody else decides about the guest until this transaction ends."""
    session.lock(f"unknown-guest:{server_id}")


def _live(session: Session, server_id: str) -> Server | None:
    return session.scalar(select(Server).where(Server.id == server_id, Server.deleted_at.is_(None)))


def _require_uncondemned(session: Session, host: str, server_id: str) -> None:
    same = (DebtRow.host == host, DebtRow.subject_id == server_id, DebtRow.name == spec.discard.name)
    number = session.scalar(select(DebtRow.id).where(*same))
    if number is not None:
        raise Conflict(f"Guest {server_id} is condemned by debt {number}: `pileus debt forget {number}` takes it back.")


def _project(session: Session, told: GuestSpec, wanted: str | None) -> str:
    if wanted is not None:
        return rows.named(session, Project, wanted).id
    if session.get(Project, told.data.project_id) is None:
        raise Invalid(f"The guest's project {told.data.project_id} does not exist here: say which is to have it.")
    return told.data.project_id


# --- a server that is known in an older incarnation ---------------------------------------------------------------


def _give_back(session: Session, server: Server, guest: UnknownGuest, origin: Origin) -> Adopted:
    if server.host != guest.host or guest.incarnation <= server.incarnation:
        where = f"on host {server.host}" if server.host else "on no host"
        raise Conflict(f"Server {server.id} exists, {where}: this guest of it can only be discarded.")
    session.refresh(server, with_for_update=True)
    if live(session, server.id):
        raise Conflict(f"Something is under way on server {server.id}.")
    note(session, "server.adopt", server.id, msgspec.structs.replace(origin, project_id=server.project_id))
    server.incarnation = guest.incarnation
    server.vm_state, server.power_state = _states(guest)
    server.touch()
    return Adopted(server)


# --- a server that is not known -----------------------------------------------------------------------------------


def _make(session: Session, guest: UnknownGuest, told: GuestSpec, origin: Origin, flavor: str | None) -> Adopted:
    """In the order of locks (operations/model.py): operation, quotas, placement, server, ports."""
    project_id = origin.project_id or ""
    sizes = _flavor(session, told, flavor)
    note(session, "server.adopt", told.server_id, origin)
    groups = regain.group_of(session, project_id)
    session.lock("server-numbers")
    server = _server(session, guest, told, origin, sizes, groups)
    _claim(session, server)
    session.add(server)
    session.flush()
    lost: list[str] = []
    found = regain.ports_of(session, told.ports, server.id, project_id, guest.host, groups, origin.request_id, lost)
    server.networks = [NetworkRequest(network_id=port.network_id) for port in found]
    server_ports.set_up(session, [server.id], server.vm_state != STOPPED)
    return Adopted(server, len(found), lost)


def _server(
    session: Session, guest: UnknownGuest, told: GuestSpec, origin: Origin, sizes: FlavorSnapshot, groups: list[str]
) -> Server:
    _forget_deleted(session, told.server_id)
    vm_state, power_state = _states(guest)
    data, now = told.data, utcnow()
    return Server(
        id=told.server_id,
        number=_number(session, told.instance_name),
        name=data.name,
        hostname=data.hostname,
        project_id=origin.project_id,
        user_id=origin.user_id,
        reservation_id=f"r-{told.server_id[:8]}",
        launch_index=data.launch_index,
        vm_state=vm_state,
        power_state=power_state,
        host=guest.host,
        incarnation=guest.incarnation or told.incarnation,
        flavor=sizes,
        image_id=told.image.id if told.image else None,
        image=_image(told),
        key_name=data.key_name,
        key=_key(data),
        metadata_=data.metadata,
        user_data=data.user_data,
        config_drive=told.config_drive,
        networks=[],
        security_groups=groups,
        created_at=now,
        updated_at=now,
        launched_at=now,
    )


def _states(guest: UnknownGuest) -> tuple[str, int]:
    """vm_state and power state; a guest of which only files are there can be started."""
    state = PowerState.SHUTDOWN if guest.power_state is None else guest.power_state
    return ADOPTED.get(state, STOPPED), state


def _forget_deleted(session: Session, server_id: str) -> None:
    """The row of a server that was deleted makes room for the guest that is there."""
    session.change(delete(Server).where(Server.id == server_id, Server.deleted_at.is_not(None)))


def _number(session: Session, instance_name: str) -> int:
    """The number that names the guest on its host, if no server has it; else the next."""
    own = re.fullmatch(r"instance-([0-9a-f]{8})", instance_name)
    number = int(own[1], 16) if own else 0
    if 0 < number < 2**31 and session.scalar(select(Server.id).where(Server.number == number)) is None:
        return number
    return (session.scalar(select(func.max(Server.number))) or 0) + 1


def _flavor(session: Session, told: GuestSpec, wanted: str | None) -> FlavorSnapshot:
    """A flavor as the server keeps it: the one asked for, or one of the guest's sizes, or one without a name."""
    if wanted is not None:
        flavor = flavors.named(session, wanted)
        disks = (flavor.root_gib, flavor.ephemeral_gib, flavor.swap_mib)
        if disks != (told.root_gib, told.ephemeral_gib, told.swap_mib):
            raise Invalid(f"The guest's disks are not those of flavor {flavor.name}.")
        return flavors.snapshot(flavor)
    sizes = Flavor(
        id=new_id(),
        name="unnamed",
        vcpus=told.vcpus,
        ram_mib=told.memory_mib,
        root_gib=told.root_gib,
        ephemeral_gib=told.ephemeral_gib,
        swap_mib=told.swap_mib,
        rxtx_factor=1.0,
        extra_specs=told.extra_specs,
    )
    return flavors.snapshot(flavors.like(session, sizes) or sizes)


def _image(told: GuestSpec) -> ImageSnapshot:
    image = told.image
    if image is None:
        return ImageSnapshot()
    return ImageSnapshot(
        location=image.location,
        disk_format=image.disk_format,
        size_bytes=image.size_bytes,
        sha512=image.sha512,
        properties=image.properties,
    )


def _key(data: InstanceData) -> KeySnapshot | None:
    if data.public_key is None:
        return None
    try:
        fingerprint = keypairs.imported(data.key_type, data.public_key).fingerprint
    except Invalid:
        fingerprint = ""
    return KeySnapshot(public_key=data.public_key, type=data.key_type, fingerprint=fingerprint)


def _claim(session: Session, server: Server) -> None:
    """What the guest uses anyway is claimed, whether there is room or not."""
    session.lock(allocations.LOCK)
    request = request_of(server)
    provider_id = session.get_one(Host, server.host).provider_id
    allocations.release(session, [server.id])
    claim = Claim(server.id, provider_id, server.project_id, server.user_id, request.resources)
    allocations.claim(session, [claim])
