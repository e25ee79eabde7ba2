"""A body becomes an image's data, or nothing changes (api-ref image v2, Upload binary image data)."""

from __future__ import annotations

from sqlalchemy import select

from pileus.db import Database, Session, new_id
from pileus.errors import Conflict, Invalid, NotFound
from pileus.image import store
from pileus.image.inspection import Inspection
from pileus.image.model import Image
from pileus.settings import Settings


def begin(image: Image) -> str:
    """Claim an image for an upload: it is saving from now on. Returns the upload's id.

    Raises:
        Conflict: it has data, or another upload is under way. Invalid: its formats are not set.
    """
    if image.status != "queued":
        raise Conflict(f"Image status transition from {image.status} to saving is not allowed")
    missing = [name for name in ("disk_format", "container_format") if not getattr(image, name)]
    if missing:
        raise Invalid(f"Properties {', '.join(missing)} must be set prior to saving data.")
    image.status, image.upload = "saving", new_id()
    image.touch()
    return image.upload


def take(db: Database, settings: Settings, image: Image, source: store.Source, length: int | None) -> None:
    """Take in the body of the upload that `begin` began; if that fails, the image is queued again.

    Raises:
        TooLarge, Invalid: see store.receive. Unsupported: the body is not what disk_format says, or not safe.
        NotFound: the image was deleted meanwhile.
    """
    upload = str(image.upload)
    try:
        with store.incoming(settings.images, image.id, upload) as (part, file):
            if image.container_format == "bare":
                inspection = Inspection(source, str(image.disk_format), settings.enforce_image_format)
                received = store.receive(inspection, file, length, settings.image_size_cap_bytes)
                virtual_size = inspection.judge(received.size)
            else:
                received = store.receive(source, file, length, settings.image_size_cap_bytes)
                virtual_size = None
            with db.write() as session:
                row = _claimed(session, image.id, upload)
                store.publish(settings.images, part, image.id)
                _finish(row, received, virtual_size)
    except BaseException:
        with db.write() as session:
            _abandon(session, settings, image.id, upload)
        raise


def _finish(image: Image, received: store.Received, virtual_size: int | None) -> None:
    image.size, image.virtual_size = received.size, virtual_size
    image.checksum = received.checksum
    image.os_hash_algo, image.os_hash_value = received.os_hash_algo, received.os_hash_value
    image.status, image.upload = "active", None
    image.touch()


def _abandon(session: Session, settings: Settings, image_id: str, upload: str) -> None:
    try:
        image = _claimed(session, image_id, upload)
    except NotFound:
        return
    image.status, image.upload = "queued", None
    store.remove(settings.images, image_id)  # there may be one if the commit failed behind publish


def _claimed(session: Session, image_id: str, upload: str) -> Image:
    """The image, as long as this upload is the one it waits for."""
    query = select(Image).where(Image.id == image_id, Image.upload == upload).with_for_update(of=Image)
    image = session.scalar(query)
    if image is None:
        raise NotFound(f"Image {image_id} could not be found after upload. It may have been deleted meanwhile.")
    return image
