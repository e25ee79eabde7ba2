"""Images: create, find, change, delete."""

from __future__ import annotations

from typing import Any

from sqlalchemy import exists, or_, select
from sqlalchemy.sql import ColumnElement

from pileus.db import Session, new_id, utcnow
from pileus.errors import Conflict, Forbidden, NotFound
from pileus.image import attributes, store
from pileus.image.model import Image, ImageMember
from pileus.settings import Settings


def visible(session: Session, project_id: str | None, is_admin: bool, image_id: str) -> Image:
    """An image, if the project may see it: its own, public, community, or shared with it.

    Raises:
        NotFound: there is none such for this project.
    """
    query = select(Image).where(Image.id == image_id)
    if not is_admin:
        query = query.where(or_(Image.visibility.in_(("public", "community")), *_ours(project_id)))
    image = session.scalar(query)
    if image is None:
        raise NotFound(f"No image found with ID {image_id}")
    return image


def _ours(project_id: str | None) -> list[ColumnElement[bool]]:
    if project_id is None:
        return []
    return [Image.owner == project_id, shared_with(project_id)]


def shared_with(project_id: str, status: str | None = None) -> ColumnElement[bool]:
    """Whether an image is shared with a project, and it answered so (any way, if None)."""
    member = exists().where(ImageMember.image_id == Image.id, ImageMember.member_id == project_id)
    if status is not None:
        member = member.where(ImageMember.status == status)
    return (Image.visibility == "shared") & member


def location(settings: Settings, image: Image) -> str:
    """URL of the image's data, for an agent on this machine."""
    return store.path(settings.images, image.id).absolute().as_uri()


def create(session: Session, owner: str | None, document: dict[str, Any]) -> Image:
    """A new image without data; `document` has its attributes and properties, validated by the schema.

    Raises:
        Forbidden: an attribute that clients may not set. Conflict: the id is taken.
        TooLarge: too many properties or tags.
    """
    for name in document:
        attributes.check_writable(name)
    known = {name: value for name, value in document.items() if name in attributes.WRITABLE}
    image_id = known.pop("id", None) or new_id()
    if session.get(Image, image_id) is not None:
        raise Conflict(f"Image ID {image_id} already exists!")
    properties = {name: value for name, value in document.items() if name not in attributes.WRITABLE}
    tags = known.pop("tags", [])
    image = Image(id=image_id, properties=properties, **({"owner": owner} | known))
    image.tags = tags
    check_counts(image)
    session.add(image)
    session.flush()
    return image


def touch(image: Image) -> None:
    """Note that the image changed now."""
    image.updated_at = utcnow()


def check_counts(image: Image) -> None:
    """Raises TooLarge if the image has too many properties or tags."""
    attributes.check_count("properties", len(image.properties), attributes.MOST_PROPERTIES)
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
    touch(image)


def delete(session: Session, settings: Settings, image: Image) -> None:
    """Forget an image; its data goes once that is committed.

    Raises:
        Forbidden: it is protected.
    """
    if image.protected:
        raise Forbidden(f"Image {image.id} is protected and cannot be deleted.")
    session.delete(image)
    image_id = image.id
    session.after_commit(lambda: store.remove(settings.images, image_id))
