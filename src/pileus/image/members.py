"""Members: the projects a shared image is shared with (api-ref image v2, Sharing)."""

from __future__ import annotations

from sqlalchemy import func, select

from pileus.db import Session, utcnow
from pileus.errors import Conflict, Forbidden, NotFound
from pileus.image import attributes
from pileus.image.model import Image, ImageMember


def of(session: Session, image: Image, only: str | None = None) -> list[ImageMember]:
    """The members of an image, or the one given, if it is one.

    Raises:
        Forbidden: the image is not shared.
    """
    _check_shared(image)
    query = select(ImageMember).where(ImageMember.image_id == image.id).order_by(ImageMember.created_at)
    return list(session.scalars(query if only is None else query.where(ImageMember.member_id == only)))


def find(session: Session, image: Image, member_id: str) -> ImageMember:
    """Raises NotFound unless the project is a member."""
    member = session.get(ImageMember, (image.id, member_id))
    if member is None:
        raise NotFound(f"{member_id} not found in the member list of the image {image.id}.")
    return member


def add(session: Session, image: Image, member_id: str) -> ImageMember:
    """Share an image with a project.

    Raises:
        Forbidden: the image is not shared. Conflict: the project is a member already.
        TooLarge: too many members.
    """
    _check_shared(image)
    if session.get(ImageMember, (image.id, member_id)) is not None:
        raise Conflict(f"Image member {member_id} already exists for image {image.id}.")
    count = session.scalar(select(func.count()).where(ImageMember.image_id == image.id)) or 0
    attributes.check_count("members", count + 1, attributes.MOST_MEMBERS)
    now = utcnow()
    member = ImageMember(image_id=image.id, member_id=member_id, status="pending", created_at=now, updated_at=now)
    session.add(member)
    session.flush()
    return member


def set_status(member: ImageMember, status: str) -> None:
    """What the member says to the offer."""
    member.status = status
    member.updated_at = utcnow()


def _check_shared(image: Image) -> None:
    if image.visibility != "shared":
        raise Forbidden("Only shared images have members.")
