"""From rows to the specifications that hosts work from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Concatenate, ParamSpec, TypeVar

import msgspec
from msgspec.structs import replace
from sqlalchemy import select

from pileus.agent.commands import (
    COMMANDS,
    AttachPort,
    BuildGuest,
    Command,
    DetachPort,
    DiscardGuest,
    DropStash,
    GuestCommand,
    GuestPort,
    GuestSpec,
    ImageSource,
    InstanceData,
    PrepareGuest,
    RestoreGuest,
    ServerCommand,
    StashGuest,
    UpdateInstanceData,
)
from pileus.compute import owing
from pileus.compute.incarnations import Incarnations
from pileus.compute.migration_model import REVERTING, Migration, newest_of
from pileus.compute.model import Server
from pileus.compute.snapshots import ImageSnapshot
from pileus.compute.states import ACTIVE, RESIZED, TOLD
from pileus.db import Session
from pileus.db.among import among
from pileus.db.reading import Reader
from pileus.errors import NotFound
from pileus.jsontypes import Json, Values
from pileus.membership import agents
from pileus.network import security_groups, wiring
from pileus.operations import Owed, Recorded, recorded
from pileus.operations.owed import RecordedMany, recorded_many

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
_SERVERS = Reader(Server)
_NAMED = _SERVERS.query.where(among(Server.id, "ids"))


def _known(found: T | None, server_id: str) -> T:
    """What was found of a server; raises NotFound: nothing was."""
    if found is None:
        raise NotFound(f"Instance {server_id} could not be found.")
    return found


def guest(session: Session, server_id: str) -> GuestSpec:
    """Everything a host needs to build the server's guest; raises NotFound."""
    return guests(session, [server_id])[0]


def guests(session: Session, server_ids: Sequence[str]) -> list[GuestSpec]:
    """The same of many servers, in order: as many statements, however many there are."""
    rows = {row.id: row for row in _SERVERS.fetch(session, _NAMED, {"ids": list(server_ids)})}
    ports, groups = wiring.guest_ports(session, server_ids), security_groups.names_for_servers(session, server_ids)
    return [_guest(_known(rows.get(one), one), ports[one], tuple(groups.get(one, ()))) for one in server_ids]


def _guest(server: Server, ports: tuple[GuestPort, ...], groups: tuple[str, ...]) -> GuestSpec:
    flavor = server.flavor
    return GuestSpec(
        server_id=server.id,
        incarnation=server.incarnation,
        instance_name=server.instance_name,
        vcpus=flavor.vcpus,
        memory_mib=flavor.ram,
        root_gib=flavor.disk,
        ephemeral_gib=flavor.ephemeral,
        swap_mib=flavor.swap,
        image=_image(server),
        ports=ports,
        config_drive=server.config_drive,
        data=_data(server, groups),
        extra_specs=flavor.extra_specs,
    )


def _image(server: Server) -> ImageSource | None:
    return None if server.image_id is None else _source(server.image_id, server.image)


def _source(image_id: str, image: ImageSnapshot) -> ImageSource:
    return ImageSource(
        id=image_id,
        location=image.location,
        disk_format=image.disk_format,
        size_bytes=image.size_bytes,
        sha512=image.sha512,
        properties=image.properties,
    )


def _data(server: Server, groups: tuple[str, ...]) -> InstanceData:
    key = server.key
    return InstanceData(
        hostname=server.hostname,
        name=server.name,
        project_id=server.project_id,
        launch_index=server.launch_index,
        availability_zone=server.availability_zone or "nova",
        admin_pass=server.admin_pass,
        key_name=server.key_name,
        public_key=key.public_key if key else None,
        key_type=key.type if key else "ssh",
        metadata=server.metadata_,
        security_groups=groups,
        user_data=server.user_data,
    )


# --- commands: recorded actions, so that the journal and the debts can name them ------------------------------

Builder = Recorded[Any, Any] | RecordedMany
_BUILDERS: dict[type[Command], Builder] = {}


def owed(kind: type[Command], *, server_id: str, **values: Json) -> Owed:
    """A command about a server, to be built of its row when it is sent.

    Args:
        values: the command's own fields; which guest it is about is read from the row.

    Raises:
        TypeError: the command has no such field, or needs another.
    """
    _check(kind, values.keys())
    return builder(kind).owed(server_id=server_id, **values)


def builder(kind: type[Command]) -> Builder:
    """The recorded action that builds a command; what names none of its own is built of the servers' rows."""
    if kind not in _BUILDERS:
        _BUILDERS[kind] = recorded_many(kind.words())(partial(_build, kind))
    return _BUILDERS[kind]


def _build(kind: type[Command], session: Session, each: Sequence[Values]) -> list[Command]:
    ids = [one["server_id"] for one in each]
    own = [{name: value for name, value in one.items() if name != "server_id"} for one in each]
    if issubclass(kind, GuestCommand):
        return [kind(guest=guest, **values) for guest, values in zip(guests(session, ids), own, strict=True)]
    assert issubclass(kind, ServerCommand)
    found = dict(session.execute(select(Server.id, Server.incarnation).where(Server.id.in_(ids))).all())
    return [
        kind(server_id=one, incarnation=_known(found.get(one), one), **values)
        for one, values in zip(ids, own, strict=True)
    ]


def _check(kind: type[Command], names: Iterable[str]) -> None:
    fields = {one.name: one for one in msgspec.structs.fields(kind)}
    own = fields.keys() - {"guest", "server_id", "incarnation"}
    needed = {name for name in own if fields[name].required}
    if not needed <= set(names) <= own:
        raise TypeError(f"{kind.__name__} takes {sorted(own)}, not {sorted(names)}")


def builds(kind: type[Command]) -> Callable[[Callable[Concatenate[Session, P], R]], Recorded[P, R]]:
    """Make a function what builds a command, in place of the server's row alone."""

    def make(function: Callable[Concatenate[Session, P], R]) -> Recorded[P, R]:
        made = recorded(kind.words())(function)
        _BUILDERS[kind] = made
        return made

    return make


@recorded("build guest of another image")
def build_of(
    session: Session, server_id: str, image_id: str, image: dict[str, Any], plug_timeout_s: float
) -> BuildGuest:
    """The command that builds a guest, of an image (a snapshot of it) that is not the one that the server shows."""
    source = _source(image_id, msgspec.convert(image, ImageSnapshot))
    return BuildGuest(guest=replace(guest(session, server_id), image=source), plug_timeout_s=plug_timeout_s)


@builds(DiscardGuest)
def discard(
    session: Session, server_id: str, incarnation: int, stash: bool = True, kept: bool = False, may_run: bool = False
) -> Command:
    """The command that removes a guest of this incarnation, or an older one; with what was set aside of it, or not.

    Args:
        kept: the server went on with the guest's disks, on storage that its hosts share: they are the host's that it is
            on by now, and go only if it is on none.
        may_run: as long as this is owed, the guest may run, or come to run, and no other of its server is to be run
            (compute/owing.py). Not so of one on a dead host that was evacuated: that is what evacuations are for.
    """
    on = session.scalar(select(Server.host).where(Server.id == server_id)) if kept else None
    return DiscardGuest(server_id=server_id, incarnation=incarnation, stash=stash, to=on or "")


@builds(StashGuest)
def stash(session: Session, server_id: str, timeout_s: float) -> Command:
    """The command that sets a guest aside for the host that its server goes to."""
    found = session.execute(select(Server.incarnation).where(Server.id == server_id)).scalar_one_or_none()
    incarnation: int = _known(found, server_id)
    to = session.scalar(newest_of(server_id, Migration.dest_host)) or ""
    keys = agents.keys_of_host(session, to)
    return StashGuest(server_id=server_id, incarnation=incarnation, to=to, keys=keys, timeout_s=timeout_s)


@builds(DropStash)
def drop_stash(_session: Session, server_id: str, incarnation: int) -> Command:
    """The command that removes what was set aside of a guest of this incarnation, or an older one."""
    return DropStash(server_id=server_id, incarnation=incarnation)


@builds(RestoreGuest)
def restore(session: Session, server_id: str, host: str, set_aside: int, plug_timeout_s: float) -> Command | None:
    """The command that takes back a guest that was set aside as this incarnation; nothing once the server is elsewhere,
    or was made anew. It does not run while another host may still have a copy of it that runs."""
    server, aside = session.get(Server, server_id), Incarnations(set_aside)
    if server is None or server.host != host or server.incarnation not in (aside.source, aside.restored):
        return None
    state = server.vm_state
    if state == RESIZED:
        query = select(Migration.old_vm_state).where(Migration.server_id == server_id)
        state = session.scalar(query.where(Migration.source_incarnation == set_aside)) or state
    run = state == ACTIVE and owing.hindrance(session, server_id, host) is None
    whole = guest(session, server_id)
    return RestoreGuest(guest=whole, set_aside=set_aside, run=run, plug_timeout_s=plug_timeout_s)


@builds(PrepareGuest)
def prepare(
    session: Session, server_id: str, incarnation: int, shared: bool | None, plug_timeout_s: float
) -> PrepareGuest:
    """The command that makes all ready for a guest that is to be of this incarnation, on another host than the
    server's."""
    whole = replace(guest(session, server_id), incarnation=incarnation)
    return PrepareGuest(guest=whole, shared=shared, plug_timeout_s=plug_timeout_s)


@builds(DetachPort)
def detach_port(
    session: Session, server_id: str, port_id: str, port: dict[str, Any] | None = None, host: str = ""
) -> Command | None:
    """The command that unplugs a port; nothing once the server is on no host, or on another one than this, if one is
    named.

    Args:
        port: what it was when it was plugged, for when there is no such port any more.

    Raises:
        NotFound: there is no such port, and nobody says what it was.
    """
    server = session.get(Server, server_id)
    if server is None or server.host is None or host not in ("", server.host):
        return None
    whole = guest(session, server_id)
    left = tuple(one for one in whole.ports if one.port.id != port_id)
    gone = next((one for one in whole.ports if one.port.id == port_id), None)
    if gone is None and port is None:
        raise NotFound(f"Instance {server_id} does not have a port with id {port_id}")
    return DetachPort(guest=replace(whole, ports=left), port=gone or msgspec.convert(port, GuestPort))


@recorded(owing.PLUG)
def plug_again(session: Session, server_id: str, port_id: str, plug_timeout_s: float, host: str = "") -> Command | None:
    """The command that gives a guest a port back that it may have let go of; nothing once the port is not the server's,
    or the server is to be mended or deleted first, or is on another host than this, if one is named: what mends or
    moves it plugs all its ports."""
    server = session.get(Server, server_id)
    if server is None or server.host is None or server.vm_state not in TOLD or host not in ("", server.host):
        return None
    whole = guest(session, server_id)
    if port_id not in (one.port.id for one in whole.ports):
        return None
    return AttachPort(guest=whole, port_id=port_id, plug_timeout_s=plug_timeout_s)


@builds(UpdateInstanceData)
def update_data(session: Session, server_id: str, host: str) -> Command | None:
    """The command that changes what the metadata service tells a guest; nothing once it is not on the host any more,
    or the server is to be mended or deleted first, or its move to be reverted: what does so tells the guest, too."""
    server = session.get(Server, server_id)
    if server is None or server.host != host or server.vm_state not in TOLD:
        return None
    if session.scalar(newest_of(server_id, Migration.status)) == REVERTING:
        return None
    return UpdateInstanceData(guest=guest(session, server_id))


for _kind in COMMANDS:
    builder(_kind)
