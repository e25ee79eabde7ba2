"""What a replica makes sure of before it starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from pileus.cloud import Cloud
from pileus.db import Database
from pileus.errors import Unavailable
from pileus.operations import leases
from pileus.settings import Settings
from tests.databases import Databases, migrated


def share(db: Database, name: str, images: Path) -> None:
    """As far as a start does."""
    cloud = Cloud(Settings(state="/nowhere", role="replica", replica_id=name, image_folder=str(images)), db)
    try:
        with db.write() as session:
            leases.renew(session, name)
            cloud._share_images(session)
    finally:
        cloud.logins.close()


def test_a_replica_with_an_image_folder_of_its_own_is_refused(tmp_path: Path, databases: Databases) -> None:
    """It would not find what others keep, and take their uploads for broken ones."""
    with databases.copy(migrated, tmp_path / "t.db") as db:
        share(db, "first", tmp_path / "images")
        with pytest.raises(Unavailable, match="--image-folder"):
            share(db, "second", tmp_path / "others")
        mounted = tmp_path / "mounted"
        mounted.symlink_to(tmp_path / "images")
        share(db, "second", mounted)
