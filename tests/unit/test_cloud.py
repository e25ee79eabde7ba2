"""What a replica makes sure of before it starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from pileus import clock
from pileus.cloud import Cloud
from pileus.db import Database
from pileus.errors import Unavailable
from pileus.network import sync
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


@pytest.mark.parametrize(("database", "owed"), [("", 1), ("postgresql://u@h/d", 0)])
def test_replicas_that_simulate_networks_do_not_compare_what_each_remembers(
    tmp_path: Path, databases: Databases, monkeypatch: pytest.MonkeyPatch, database: str, owed: int
) -> None:
    """Each would owe all ports that another one wrote, every few minutes."""
    compared: list[set[str]] = []
    monkeypatch.setattr(sync, "reconcile", lambda session, recorded: compared.append(recorded))
    with databases.copy(migrated, tmp_path / "t.db") as db:
        cloud = Cloud(Settings(state="/nowhere", role="replica", network="fake", database=database), db)
        monkeypatch.setattr(clock, "monotonic", lambda: 1e9)
        try:
            cloud._compare_network()
        finally:
            cloud.logins.close()
    assert len(compared) == owed
