"""The images that this replica keeps, for agents elsewhere (operations.freight.Stock)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sqlalchemy import or_, select, union

from pileus.agent.commands import SnapshotGuest
from pileus.compute.migration_model import OPEN, Migration
from pileus.compute.model import Server
from pileus.db import Database
from pileus.image import store
from pileus.operations.post import Post
from pileus.settings import Settings


class Stock:
    """Args: post: what was told to hosts."""

    def __init__(self, db: Database, settings: Settings, post: Post) -> None:
        self._db, self._directory, self._post = db, settings.images, post
        self.cap_bytes, self.reserve_bytes = settings.image_size_cap_bytes, settings.host_reserve_mib << 20

    def data(self, image_id: str, owns: Callable[[str], bool]) -> Path | None:
        """An image's data, if it is here and a server that is on one of an agent's own hosts, or moves there, is made
        of it, or comes back from it."""
        try:
            path = store.path(self._directory, image_id)
        except ValueError:
            return None
        made = or_(Server.image_id == image_id, Server.shelved_image_id == image_id)
        used = (made, Server.deleted_at.is_(None))
        there = select(Server.host.label("host")).where(*used)
        coming = select(Migration.dest_host).join(Server, Server.id == Migration.server_id)
        coming = coming.where(*used, Migration.status.in_(OPEN))
        with self._db.read() as session:
            hosts = session.scalars(union(there, coming))
            return path if any(owns(host or "") for host in hosts) and path.is_file() else None

    def incoming(self, image_id: str, hosts: set[str]) -> Path | None:
        """Where the data of an image arrive that this replica has told one of these hosts to make; else None."""
        for letter in self._post.letters():
            command = letter.envelope.command
            if isinstance(command, SnapshotGuest) and command.image_id == image_id and letter.envelope.host in hosts:
                whole = store.path(store.incoming_directory(self._directory), image_id)
                return whole.with_name(whole.name + store.ARRIVING)
        return None

    def arrived(self, part: Path, sha512: str) -> None:
        """All of an image's data are there; what the host says of them is compared with this hash."""
        store.arrived(part, sha512)
