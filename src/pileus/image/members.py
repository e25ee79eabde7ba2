"""Members: the projects a shared image is shared with (api-ref image v2, Sharing)."""

from __future__ import annotations

from sqlalchemy import func, select

from pileus.api import ITSELF, Asks, Values
from pileus.db import Session, utcnow
from pileus.errors import Conflict, Forbidden
from pileus.image import attributes
from pileus.image.model import Image, ImageMember


def create(session: Session, values: Values, asks: Asks = ITSELF) -> ImageMember:
    """Share an image with a project.

    Args:
        values: image_id, and the project as `member`.

    Raises:
        Forbidden: the image is not shared. Conflict: the project is a member already.
        TooLarge: too many members.
    """
    image, member_id = session.get_one(Image, values["image_id"]), values["member"]
    check_shared(image)
    if session.get(ImageMember, (image.id, member_id)) is not None:
        raise Conflict(f"Image member {member_id} already exists for image {image.id}.")
    count = session.scalar(select(func.count()).where(ImageMember.image_id == image.id)) or 0
    attributes.check_count("members", count + 1, attributes.MOST_MEMBERS)
    now = utcnow()
    member = ImageMember(image=image, member_id=member_id, status="pending", created_at=now, updated_at=now)
    session.add(member)
    session.flush()
    return member


def update(session: Session, member: ImageMember, values: Values, asks: Asks = ITSELF) -> None:
    """What the member says to the offer: pending, accepted or rejected, as `status`."""
    member.status, member.updated_at = values["status"], utcnow()


def delete(session: Session, member: ImageMember, asks: Asks = ITSELF) -> None:
    """Share an image with a project no longer."""
    session.delete(member)


def check_shared(image: Image) -> None:
    """Raises Forbidden unless the image may have members."""
    if image.visibility != "shared":
        raise Forbidden("Only shared images have members.")
