"""Images that hosts make of servers' disks: data that come as a file, already hashed."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

import msgspec
from sqlalchemy import select

from pileus.agent.commands import SnapshotMade
from pileus.api import Requester
from pileus.db import Session
from pileus.errors import Conflict
from pileus.image import attributes, images, quotas, store
from pileus.image.model import Image
from pileus.jsontypes import Values
from pileus.settings import Settings


def location(settings: Settings, image_id: str) -> str:
    """URL of the file that a host is to make for an image."""
    return store.path(store.incoming_directory(settings.images), image_id).absolute().as_uri()


def prepare(session: Session, values: Values, properties: Mapping[str, str], asks: Requester) -> Image:
    """An image that a host is to make the data of; how large they become is known only then.

    Args:
        values: its attributes. properties: what its owner wants to be kept with it.

    Raises:
        Forbidden: a property that is an attribute. QuotaExceeded: its owner may store nothing more. What creating an
            image raises.
    """
    for name in properties:
        attributes.check_property(name)
    image = images.create(session, {**properties, **values}, asks)
    quotas.take(session, asks.settings, image.owner, {quotas.SIZE: 1})
    return image


def begin(session: Session, image_id: str) -> None:
    """A host is making the data: the image is saving.

    Raises:
        Conflict: the image was deleted or changed meanwhile.
    """
    image = _held(session, image_id)
    if image is None or image.status != "queued":
        raise Conflict(f"Image {image_id} does not wait for data any more.")
    image.status, image.upload = "saving", store.BROUGHT
    image.touch()


def publish(session: Session, image_id: str, url: str, made: Values) -> None:
    """What the host made is the image's data; idempotent.

    Args:
        made: what it says of them, a SnapshotMade.

    Raises:
        Conflict: the image was deleted meanwhile, or the file is not what the host said.
    """
    image = _held(session, image_id)
    if image is None:
        raise Conflict(f"Image {image_id} was deleted while it was made.")
    try:
        said = msgspec.convert(made, SnapshotMade)
    except msgspec.ValidationError as error:
        raise Conflict(f"What its host says of image {image_id} is not understood: {error}") from error
    store.adopt(_part(image_id, url), image_id, said.size, said.sha512)
    image.size, image.virtual_size, image.checksum = said.size, said.virtual_size, said.checksum
    image.os_hash_algo, image.os_hash_value = "sha512", said.sha512
    image.status, image.upload = "active", None
    image.touch()


def drop(session: Session, image_id: str, url: str) -> None:
    """Forget an image whose data never came, and what of them a host brought; idempotent.

    The files go at once: nobody publishes them any more, and what happens after a commit may never happen. A publishing
    that was not committed has left one where whole data are.
    """
    image = _held(session, image_id)
    part = _part(image_id, url)
    for file in (part, store.note_of(part)):
        file.unlink(missing_ok=True)
    if image is None or image.status in ("queued", "saving"):
        store.remove(part.parent.parent, image_id)
    if image is not None and image.status in ("queued", "saving"):
        images.forget(session, image)


def require(session: Session, image_id: str) -> Image:
    """An image that is the only copy of something.

    Raises:
        Conflict: it is not there any more, or deactivated.
    """
    image = session.get(Image, image_id)
    if image is None or image.status != "active":
        raise Conflict(f"Image {image_id} is not there any more, or not active.")
    return image


def forget(session: Session, image_ids: Collection[str]) -> None:
    """Images that nobody needs any more are gone, but for protected ones; idempotent. Their data goes with the next
    sweep."""
    query = select(Image).where(Image.id.in_(image_ids), Image.protected.is_(False)).order_by(Image.id)
    for image in session.scalars(query.with_for_update()):
        images.forget(session, image)


def _part(image_id: str, url: str) -> Path:
    """The file that a host makes for an image: where the URL says, and of no other name than the image's id."""
    return store.path(Path(url.removeprefix("file://")).parent, image_id)


def _held(session: Session, image_id: str) -> Image | None:
    return session.get(Image, image_id, with_for_update=True, populate_existing=True)
