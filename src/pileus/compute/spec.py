"""From rows to the specifications that hosts work from."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import msgspec
from msgspec.structs import replace

from pileus.agent.commands import (
    AttachPort,
    BuildGuest,
    Command,
    DetachPort,
    DiscardGuest,
    GuestPort,
    GuestSpec,
    ImageSource,
    InstanceData,
    PauseGuest,
    RebootGuest,
    ResumeGuest,
    SnapshotGuest,
    StartGuest,
    StopGuest,
    SuspendGuest,
    UnpauseGuest,
    UpdateInstanceData,
)
from pileus.compute.model import Server
from pileus.compute.states import SETTLED
from pileus.db import Session
from pileus.errors import NotFound
from pileus.network import security_groups, wiring
from pileus.operations import recorded


def _server(session: Session, server_id: str) -> Server:
    server = session.get(Server, server_id)
    if server is None:
        raise NotFound(f"Instance {server_id} could not be found.")
    return server


def guest(session: Session, server_id: str) -> GuestSpec:
    """Everything a host needs to build the server's guest."""
    server = _server(session, server_id)
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
        ports=wiring.guest_ports(session, server.id),
        config_drive=server.config_drive,
        data=_data(session, server),
        extra_specs=flavor.extra_specs,
    )


def _image(server: Server) -> ImageSource | None:
    if server.image_id is None:
        return None
    image = server.image
    return ImageSource(
        id=server.image_id,
        location=image.location,
        disk_format=image.disk_format,
        size_bytes=image.size_bytes,
        sha512=image.sha512,
        properties=image.properties,
    )


def _data(session: Session, server: Server) -> InstanceData:
    key = server.key
    # The same at every build, so that a command built again is the same command.
    seed = base64.b64encode(hashlib.sha512(f"{server.id}/seed".encode()).digest()).decode()
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
        security_groups=tuple(security_groups.names_for_servers(session, [server.id]).get(server.id, ())),
        user_data=server.user_data,
        random_seed=seed,
    )


# --- commands: recorded actions, so that the journal and the debts can name them ------------------------------


@recorded("build guest")
def build(session: Session, server_id: str, plug_timeout_s: float) -> Command:
    """The command that builds a server's guest."""
    return BuildGuest(guest=guest(session, server_id), plug_timeout_s=plug_timeout_s)


@recorded("discard guest")
def discard(_session: Session, server_id: str, incarnation: int) -> Command:
    """The command that removes a guest of this incarnation, or an older one."""
    return DiscardGuest(server_id=server_id, incarnation=incarnation)


@recorded("start guest")
def start(session: Session, server_id: str, plug_timeout_s: float) -> Command:
    """The command that powers a guest on."""
    return StartGuest(guest=guest(session, server_id), plug_timeout_s=plug_timeout_s)


@recorded("stop guest")
def stop(session: Session, server_id: str, timeout_s: float) -> Command:
    """The command that shuts a guest down."""
    return StopGuest(server_id=server_id, incarnation=_server(session, server_id).incarnation, timeout_s=timeout_s)


@recorded("reboot guest")
def reboot(session: Session, server_id: str, hard: bool, timeout_s: float) -> Command:
    """The command that reboots a guest."""
    return RebootGuest(guest=guest(session, server_id), hard=hard, timeout_s=timeout_s)


@recorded("pause guest")
def pause(session: Session, server_id: str) -> Command:
    """The command that stops a guest's CPUs."""
    return PauseGuest(server_id=server_id, incarnation=_server(session, server_id).incarnation)


@recorded("unpause guest")
def unpause(session: Session, server_id: str) -> Command:
    """The command that lets a guest's CPUs go on."""
    return UnpauseGuest(server_id=server_id, incarnation=_server(session, server_id).incarnation)


@recorded("suspend guest")
def suspend(session: Session, server_id: str) -> Command:
    """The command that saves a guest's memory and stops it."""
    return SuspendGuest(server_id=server_id, incarnation=_server(session, server_id).incarnation)


@recorded("resume guest")
def resume(session: Session, server_id: str, plug_timeout_s: float) -> Command:
    """The command that has a guest go on from its saved memory."""
    return ResumeGuest(guest=guest(session, server_id), plug_timeout_s=plug_timeout_s)


@recorded("snapshot guest")
def snapshot(session: Session, server_id: str, image_id: str, location: str) -> Command:
    """The command that copies a guest's disk to a file."""
    incarnation = _server(session, server_id).incarnation
    return SnapshotGuest(server_id=server_id, incarnation=incarnation, image_id=image_id, location=location)


@recorded("attach port")
def attach_port(session: Session, server_id: str, port_id: str, plug_timeout_s: float) -> Command:
    """The command that plugs one more port."""
    return AttachPort(guest=guest(session, server_id), port_id=port_id, plug_timeout_s=plug_timeout_s)


@recorded("detach port")
def detach_port(session: Session, server_id: str, port_id: str, port: dict[str, Any] | None = None) -> Command | None:
    """The command that unplugs a port; nothing once the server is on no host.

    Args:
        port: what it was when it was plugged, for when there is no such port any more.
    """
    server = session.get(Server, server_id)
    if server is None or server.host is None:
        return None
    whole = guest(session, server_id)
    left = tuple(one for one in whole.ports if one.port.id != port_id)
    gone = next((one for one in whole.ports if one.port.id == port_id), None)
    if gone is None and port is None:
        raise NotFound(f"Instance {server_id} does not have a port with id {port_id}")
    return DetachPort(guest=replace(whole, ports=left), port=gone or msgspec.convert(port, GuestPort))


@recorded("plug port again")
def plug_again(session: Session, server_id: str, port_id: str, plug_timeout_s: float) -> Command | None:
    """The command that gives a guest a port back that it may have let go of; nothing once the port is not the server's,
    or the server is to be mended or deleted first: what mends it plugs all its ports."""
    server = session.get(Server, server_id)
    if server is None or server.host is None or server.vm_state not in SETTLED:
        return None
    whole = guest(session, server_id)
    if port_id not in (one.port.id for one in whole.ports):
        return None
    return AttachPort(guest=whole, port_id=port_id, plug_timeout_s=plug_timeout_s)


@recorded("update instance data")
def update_data(session: Session, server_id: str, host: str) -> Command | None:
    """The command that changes what the metadata service tells a guest; nothing once it is not on the host any more,
    or the server is to be mended or deleted first: what mends it tells the guest, too."""
    server = session.get(Server, server_id)
    if server is None or server.host != host or server.vm_state not in SETTLED:
        return None
    return UpdateInstanceData(guest=guest(session, server_id))


COMMANDS = (
    build,
    discard,
    start,
    stop,
    reboot,
    pause,
    unpause,
    suspend,
    resume,
    snapshot,
    attach_port,
    detach_port,
    plug_again,
    update_data,
)
