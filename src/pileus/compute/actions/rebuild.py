"""Rebuild a server from an image, on its host, with its ports (api-ref compute, Rebuild Server)."""

from __future__ import annotations

from pileus.agent.commands import BuildGuest, StopGuest
from pileus.api import Requester, Values, changed, since
from pileus.api.schema import BOOLEAN, NAME, nullable, obj
from pileus.compute import metadata, owing, requested, schemas, servers, spec, views
from pileus.compute.action import action
from pileus.compute.model import Server
from pileus.compute.parameters import PRINTABLE_NAME, SLACK_S
from pileus.compute.snapshots import KeySnapshot
from pileus.compute.states import ACTIVE, ERROR, REBUILD_SPAWNING, REBUILDING, STOPPED
from pileus.db import Session, utcnow
from pileus.errors import Invalid
from pileus.network import server_ports
from pileus.operations import Arguments, Operation

_FIELDS: Values = {
    "imageRef": {"type": "string", "format": "uuid"},
    "adminPass": {"type": "string"},
    "name": PRINTABLE_NAME,
    "metadata": schemas.METADATA,
    "preserve_ephemeral": BOOLEAN,
    "personality": schemas.PERSONALITY,
    "accessIPv4": schemas.IPV4,
    "accessIPv6": schemas.IPV6,
    "OS-DCF:diskConfig": schemas.DISK_CONFIG,
    "description": since("2.19", schemas.DESCRIPTION),
    "key_name": since("2.54", nullable(NAME)),
    "user_data": since("2.57", schemas.USER_DATA),
    "trusted_image_certificates": since("2.63", schemas.CERTIFICATES),
    "hostname": changed(since("2.90", schemas.HOSTNAME), v2_94=schemas.FQDN),
}
BODY = obj(["imageRef"], **_FIELDS)
_COLUMNS = {
    "name": "name",
    "metadata": "metadata_",
    "description": "description",
    "user_data": "user_data",
    "hostname": "hostname",
    "accessIPv4": "access_ip_v4",
    "accessIPv6": "access_ip_v6",
    "OS-DCF:diskConfig": "disk_config",
    "trusted_image_certificates": "trusted_certs",
}
"""What of the body is taken over as it is."""


@action(
    "rebuild",
    rule="os_compute_api:servers:rebuild",
    asks=("os_compute_api:servers:rebuild:trusted_certs", "os_compute_api:servers:create:zero_disk_flavor"),
    body=BODY,
    when={ACTIVE, STOPPED, ERROR},
    during=(REBUILDING, REBUILD_SPAWNING),
    then={ACTIVE: ACTIVE, STOPPED: STOPPED, ERROR: ACTIVE},
    failed=ERROR,
    unhindered=owing.alone,
    answer=views.rebuilt,
)
def rebuild(
    op: Operation, server_id: str, was_stopped: bool, plug_timeout_s: float, deadline_s: float, timeout_s: float
) -> None:
    """A new guest takes the place of the old one, whose disks go; one that was stopped is stopped again."""
    op.step("new incarnation", renew, server_id, then=REBUILD_SPAWNING)
    build = spec.owed(BuildGuest, server_id=server_id, plug_timeout_s=plug_timeout_s)
    done = op.command("build guest", servers.host_of(server_id), build, deadline_s=deadline_s)
    if was_stopped:
        stop = spec.owed(StopGuest, server_id=server_id, timeout_s=timeout_s)
        done = op.command("power off", servers.host_of(server_id), stop, deadline_s=timeout_s + SLACK_S)
    op.step("record state", arrived, server_id, done, last=True)


@rebuild.prepared
def _prepare(session: Session, server: Server, body: Values, asks: Requester) -> Arguments:
    """The server's row says from now on what the new guest is to be.

    Raises:
        Invalid: naming what is wrong. Forbidden.
    """
    if server.launched_at is None:
        raise Invalid(f"Instance {server.id} has never been active and cannot be rebuilt.")
    image = requested.usable_image(session, asks, body)
    requested.check_fit(asks, server.flavor, image, servers.target(server))
    requested.check_user_data(body.get("user_data"))
    if body.get("trusted_image_certificates") is not None:
        asks.require("os_compute_api:servers:rebuild:trusted_certs", servers.target(server))
    if "metadata" in body:
        metadata.check_quota(session, server.project_id, body["metadata"])
    if "key_name" in body:
        key = requested.usable_key(session, asks, body["key_name"])
        server.key_name = key.name if key else None
        server.key = KeySnapshot(public_key=key.public_key, type=key.type, fingerprint=key.fingerprint) if key else None
    for name, column in _COLUMNS.items():
        if name in body:
            setattr(server, column, body[name])
    server.image_id, server.image = image.id, requested.image_snapshot(asks.settings, image)
    server.admin_pass = body.get("adminPass") or requested.new_password()
    server.touch()
    settings = asks.settings
    return rebuild.arguments(
        server.id,
        was_stopped=server.vm_state == STOPPED,
        plug_timeout_s=settings.plug_timeout_s,
        deadline_s=settings.build_timeout_s,
        timeout_s=settings.shutdown_timeout_s,
    )


def renew(session: Session, server_id: str) -> Values:
    """The next guest is another one: its host removes the former when it builds it."""
    server = servers.held(session, server_id)
    assert server is not None
    server.incarnation = server.next_incarnation
    return {"incarnation": server.incarnation}


def arrived(session: Session, server_id: str, done: Values) -> None:
    """The new guest is there."""
    with rebuild.arriving(session, server_id, done) as server:
        server.admin_pass = None
        server.launched_at = utcnow()
        server_ports.set_up(session, [server.id], server.vm_state == ACTIVE)
