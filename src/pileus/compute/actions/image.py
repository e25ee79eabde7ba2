"""Make an image of a server (api-ref compute, Create Image)."""

from __future__ import annotations

from pileus.agent.commands import SnapshotGuest
from pileus.api import Requester, Values
from pileus.api.schema import obj
from pileus.compute import metadata, schemas, servers, spec, views
from pileus.compute.action import action
from pileus.compute.model import Server
from pileus.compute.parameters import COPY_S, PRINTABLE_NAME
from pileus.compute.states import ACTIVE, PAUSED, STOPPED, SUSPENDED
from pileus.db import Session
from pileus.image import snapshots
from pileus.image.attributes import MOST_PROPERTIES
from pileus.image.model import Image
from pileus.operations import Arguments, Operation, Owed, recorded


@action(
    "createImage",
    rule="os_compute_api:servers:create_image",
    name="createImage",
    body=obj(["name"], name=PRINTABLE_NAME, metadata=schemas.METADATA),
    when={ACTIVE, STOPPED, PAUSED, SUSPENDED},
    during=("image_snapshot", "image_uploading"),
    then=None,
    locks=False,
    answer=views.image_made,
)
def create_image(op: Operation, server_id: str, image_id: str, location: str) -> None:
    """The host copies the disk as it is at one moment; the image is active once all of it is there."""
    op.step("begin image", begin, image_id, then="image_uploading")
    command = spec.owed(SnapshotGuest, server_id=server_id, image_id=image_id, location=location)
    done = op.command("snapshot guest", servers.host_of(server_id), command, deadline_s=COPY_S)
    op.step("publish image", snapshots.publish, image_id, location, done)
    create_image.arrive(op, server_id, {})  # what its guest did in all that time counts now


@create_image.prepared
def _prepare(session: Session, server: Server, body: Values, asks: Requester) -> Arguments:
    """The image is there at once, queued.

    Raises:
        Forbidden: too many items of metadata, or one that is an image's attribute. What creating an image raises.
    """
    given = {name: str(value) for name, value in body.get("metadata", {}).items()}
    metadata.check_quota(session, server.project_id, given)
    image = prepared_for(session, server, asks, given, name=body["name"])
    location = snapshots.location(asks.settings, image.id)
    return create_image.arguments(server.id, image_id=image.id, location=location)


def prepared_for(session: Session, server: Server, asks: Requester, given: dict[str, str], **values: str) -> Image:
    """The image that a server's host is to make.

    Args:
        given: properties that it is to have beside those that every such image has, and those of the server's own.
        values: its name, and other attributes.

    Raises:
        Forbidden: a property that is an attribute. What creating an image raises.
    """
    attributes: Values = values | {
        "visibility": "private",
        "disk_format": "qcow2",
        "container_format": "bare",
        "min_disk": server.image.min_disk or server.flavor.disk,
        "min_ram": server.image.min_ram,
    }
    properties = given | {
        "base_image_ref": server.image_id or "",
        "image_type": "snapshot",
        "instance_uuid": server.id,
        "user_id": server.user_id,
        "owner_id": server.project_id,
    }
    inherited = {name: value for name, value in server.image.properties.items() if name not in properties}
    room = MOST_PROPERTIES - len(properties)
    return snapshots.prepare(session, attributes, dict(list(inherited.items())[:room]) | properties, asks)


@create_image.undone
def dropped(arguments: Arguments) -> Owed:
    """What takes back an image that a flow's arguments name: neither it nor what its host brought is left."""
    return drop_image.owed(image_id=arguments.values["image_id"], location=arguments.values["location"])


def begin(session: Session, image_id: str) -> None:
    """The image's data are on their way."""
    snapshots.begin(session, image_id)


@recorded("drop image")
def drop_image(session: Session, image_id: str, location: str) -> None:
    """The image never came about; idempotent."""
    snapshots.drop(session, image_id, location)
