"""What must hold of images after every storm: their rows, and the files that hosts brought."""

from __future__ import annotations

import hashlib
from pathlib import Path

from sqlalchemy import select

from pileus.compute.model import Server
from pileus.db import Session
from pileus.image import store
from pileus.image.model import DeletedImage, Image
from pileus.operations.model import OperationRow
from tests.simulation.database import IMAGE


def check(session: Session, directory: Path) -> None:
    """Raises AssertionError naming the property that does not hold."""
    rows = {image.id: image for image in session.scalars(select(Image)) if image.id != IMAGE}
    for image in rows.values():
        assert image.status == "active" and image.upload is None, f"image {image.id} is stuck in {image.status}"
    files = {file.name: file for file in directory.glob("*") if file.is_file()}
    assert files.keys() == rows.keys(), f"files of images {sorted(files)}, rows {sorted(rows)}"
    brought = [file.name for file in store.incoming_directory(directory).glob("*")]
    assert not brought, f"what hosts brought lies about: {brought}"
    for image in rows.values():
        data = files[image.id].read_bytes()
        assert len(data) == image.size and hashlib.sha512(data).hexdigest() == image.os_hash_value
        assert data.decode().startswith(image.properties["instance_uuid"]), "an image of another server"
    _kept(session, rows)
    _shelved(session, rows)


def _kept(session: Session, rows: dict[str, Image]) -> None:
    """An image that was made is there unless it was deleted; one that was not made is not there."""
    deleted = set(session.scalars(select(DeletedImage.id)))
    for row in session.scalars(select(OperationRow).where(OperationRow.kind == "server.createImage")):
        image_id = row.arguments["image_id"]
        if row.state == "succeeded":
            assert (image_id in rows) != (image_id in deleted), f"image {image_id} was made and is not there"
        elif row.state == "failed":
            assert image_id not in rows, f"image {image_id} is there, and making it failed"


def _shelved(session: Session, rows: dict[str, Image]) -> None:
    """The image of a shelved server is there unless somebody deleted it; no other one of shelving is."""
    wanted = set(session.scalars(select(Server.shelved_image_id).where(Server.shelved_image_id.is_not(None))))
    made = {image.id for image in rows.values() if (image.name or "").endswith("-shelved")}
    assert made <= wanted, f"images that no shelved server has: {made - wanted}"
    deleted = set(session.scalars(select(DeletedImage.id)))
    assert wanted - made <= deleted, f"images of shelved servers are not there: {wanted - made - deleted}"
