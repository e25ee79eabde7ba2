"""Images: who sees them, create, change, delete (api-ref image v2, Images)."""

from __future__ import annotations

from functools import cache

from sqlalchemy import exists, or_, select
from sqlalchemy.sql import ColumnElement

from pileus.api import Requester, Values
from pileus.api.style import callers
from pileus.db import Session, new_id
from pileus.errors import Conflict, Forbidden, NotFound
from pileus.image import attributes, quotas, store
from pileus.image.model import DeletedImage, Image, ImageMember
from pileus.image.patch import Change
from pileus.settings import Settings


def seen(asks: Requester) -> ColumnElement[bool] | None:
    """Which images there are for the caller: its project's own, public, community and those shared with it.

    None means all, for an administrator. Every look-up of an image goes through this.
    """
    return None if asks.is_admin else _SEEN


def find(session: Session, asks: Requester, image_id: str) -> Image:
    """An image that there is for the caller.

    Raises:
        NotFound: there is none such.
    """
    query, there = select(Image).where(Image.id == image_id), seen(asks)
    image = session.scalar(query if there is None else query.where(there), asks.parameters)
    if image is None:
        raise NotFound(f"No image found with ID {image_id}")
    return image


@cache
def shared_with_caller(status: str | None = None) -> ColumnElement[bool]:
    """Whether an image is shared with the caller's project, and it answered so (any way, if None)."""
    member = exists().where(ImageMember.image_id == Image.id, callers(ImageMember.member_id))
    if status is not None:
        member = member.where(ImageMember.status == status)
    return (Image.visibility == "shared") & member


_SEEN = or_(Image.visibility == "public", Image.visibility == "community", callers(Image.owner), shared_with_caller())


def location(settings: Settings, image: Image) -> str:
    """URL of the image's data, for an agent on this machine."""
    return store.path(settings.images, image.id).absolute().as_uri()


def create(session: Session, values: Values, asks: Requester) -> Image:
    """A new image without data.

    Args:
        values: its attributes and properties; its owner is the caller's project unless it
            is among them.

    Raises:
        Forbidden: an attribute that clients may not set. Invalid: a value that it may not have. Conflict: the id is
            taken, or was once.
        TooLarge: too many properties or tags. QuotaExceeded: the owner has as many images as it may.
    """
    for name, value in values.items():
        attributes.check_writable(name)
        attributes.check_value(name, value)
    known = {name: value for name, value in values.items() if name in attributes.WRITABLE}
    properties = {name: value for name, value in values.items() if name not in attributes.WRITABLE}
    image_id, tags = known.pop("id", None) or new_id(), known.pop("tags", [])
    if any(session.get(table, image_id) is not None for table in (Image, DeletedImage)):
        raise Conflict(f"Image ID {image_id} already exists!")
    image = Image(id=image_id, properties=properties, **({"owner": asks.caller.project_id} | known))
    image.tags = tags
    check_counts(image)
    quotas.take(session, asks.settings, image.owner, {quotas.COUNT: 1})
    session.add(image)
    session.flush()
    return image


def update(image: Image, changes: list[Change]) -> None:
    """Carry out the changes of a patch in order; all or none, as the caller rolls back.

    Raises:
        Forbidden, Conflict: an attribute that cannot change so. TooLarge: too many of something.
    """
    for change in changes:
        change.apply(image)
    if changes:
        check_counts(image)
        image.touch()


def check_counts(image: Image) -> None:
    """Raises TooLarge if the image has too many properties or tags."""
    attributes.check_count("properties", len(image.properties), attributes.MOST_PROPERTIES)
    characters = sum(len(name) + len(str(value)) for name, value in image.properties.items())
    attributes.check_count("properties' characters", characters, attributes.MOST_PROPERTY_CHARACTERS)
    attributes.check_count("tags", len(image.tags), attributes.MOST_TAGS)


def set_active(image: Image, active: bool) -> None:
    """Let the data be downloaded and booted from, or no longer.

    Raises:
        Forbidden: the image has no data yet.
    """
    if image.status not in ("active", "deactivated"):
        verb = "reactivate" if active else "deactivate"
        raise Forbidden(f"Not allowed to {verb} image in status '{image.status}'")
    image.status = "active" if active else "deactivated"
    image.touch()


def delete(session: Session, image: Image, asks: Requester) -> None:
    """Forget an image, but for its id; its data goes once that is committed.

    Raises:
        Forbidden: it is protected.
    """
    if image.protected:
        raise Forbidden(f"Image {image.id} is protected and cannot be deleted.")
    image_id, directory = image.id, asks.settings.images
    forget(session, image)
    session.after_commit(lambda: store.remove(directory, image_id))


def forget(session: Session, image: Image) -> None:
    """Delete an image's row; its id is kept, so that nobody gets it again. No row is deleted but by this."""
    session.add(DeletedImage(id=image.id))
    session.delete(image)
