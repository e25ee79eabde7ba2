"""A body becomes an image's data, or nothing changes (api-ref image v2, Upload binary image data)."""

from __future__ import annotations

from sqlalchemy import select

from pileus.db import Database, Session, new_id
from pileus.errors import Conflict, Invalid, NotFound
from pileus.image import quotas, store
from pileus.image.inspection import Inspection
from pileus.image.model import Image
from pileus.settings import Settings


def begin(session: Session, settings: Settings, image: Image, length: int | None) -> str:
    """Claim an image for an upload: it is saving from now on. Returns the upload's id.

    Args:
        length: bytes that the client announced, if it did.

    Raises:
        Conflict: it has data, or another upload is under way. Invalid: its formats are not set. TooLarge: larger than
            any image may be. QuotaExceeded: the owner may not store so much, or has too many uploads under way.
    """
    if image.status != "queued":
        raise Conflict(f"Image status transition from {image.status} to saving is not allowed")
    missing = [name for name in ("disk_format", "container_format") if not getattr(image, name)]
    if missing:
        raise Invalid(f"Properties {', '.join(missing)} must be set prior to saving data.")
    store.check_length(length, settings.image_size_cap_bytes)
    more = {quotas.SIZE: quotas.mib(max(1, length or 0)), quotas.UPLOADING: 1}
    quotas.take(session, settings, image.owner, more)
    image.status, image.upload = "saving", new_id()
    image.touch()
    return image.upload


def take(db: Database, settings: Settings, image: Image, source: store.Source, length: int | None) -> None:
    """Take in the body of the upload that `begin` began; if that fails, the image is queued again.

    Raises:
        TooLarge, Invalid: see store.receive. Unsupported: the body is not what its formats say, or not safe.
        QuotaExceeded: the owner may not store so much. NotFound: the image was deleted meanwhile.
    """
    upload = str(image.upload)
    try:
        with store.incoming(settings.images, image.id, upload) as (part, file):
            inspection = Inspection(source, image.disk_format or "", image.container_format or "", settings)
            reserve = settings.host_reserve_mib * quotas.MIB
            received = store.receive(inspection, file, length, _cap(db, settings, image.owner), reserve)
            virtual_size = inspection.judge(received.size)
            with db.write() as session:
                row = _claimed(session, image.id, upload)
                quotas.take(session, settings, row.owner, {quotas.SIZE: quotas.mib(received.size)})
                store.publish(settings.images, part, image.id)
                _finish(row, received, virtual_size)
    except BaseException:
        with db.write() as session:
            _abandon(session, settings, image.id, upload)
        raise


def _cap(db: Database, settings: Settings, owner: str | None) -> int:
    """The most that is taken in, bytes: what the owner may not keep need not arrive."""
    with db.read() as session:
        room = quotas.room_bytes(session, settings, owner)
    return settings.image_size_cap_bytes if room is None else min(room, settings.image_size_cap_bytes)


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
