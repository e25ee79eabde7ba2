"""The table of moves: servers that go, or went, from a host to another."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, Select, select, text
from sqlalchemy.orm import Mapped, mapped_column

from pileus.compute.incarnations import Incarnations
from pileus.compute.snapshots import FlavorSnapshot
from pileus.db import Base
from pileus.db.structs import AsStruct

RESIZE, MIGRATION, LIVE, EVACUATION = "resize", "migration", "live-migration", "evacuation"
"""Types of moves (api-ref compute, migration_type)."""
PRE_MIGRATING, MIGRATING, POST_MIGRATING = "pre-migrating", "migrating", "post-migrating"
FINISHED, CONFIRMING, CONFIRMED = "finished", "confirming", "confirmed"
REVERTING, REVERTED, FAILED = "reverting", "reverted", "error"
ACCEPTED, DONE, NOT_DONE = "accepted", "done", "failed"
"""Of evacuations, besides PRE_MIGRATING."""
QUEUED, PREPARING, RUNNING, COMPLETED, CANCELLED = "queued", "preparing", "running", "completed", "cancelled"
LIVE_OPEN = (QUEUED, PREPARING, RUNNING, POST_MIGRATING)
"""Statuses of live migrations that are in progress."""
OPEN = (ACCEPTED, PRE_MIGRATING, MIGRATING, FINISHED, CONFIRMING, REVERTING, *LIVE_OPEN)
"""Statuses of moves that nothing came of yet: what the server has on its source is kept."""
FIRST = {RESIZE: PRE_MIGRATING, MIGRATION: PRE_MIGRATING, LIVE: QUEUED, EVACUATION: ACCEPTED}
"""The status that a move of each type begins with."""
UNCONFIRMED = text("status IN ('finished', 'confirming')")


class Migration(Base):
    """A move of a server, from the request on."""

    __tablename__ = "migrations"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    uuid: Mapped[str] = mapped_column(unique=True)
    """As a consumer of placement it holds what the server has on its source."""
    server_id: Mapped[str] = mapped_column(ForeignKey("servers.id", ondelete="CASCADE"), index=True)
    type: Mapped[str]
    status: Mapped[str]
    source_host: Mapped[str]
    dest_host: Mapped[str | None]
    dest_address: Mapped[str | None]
    source_incarnation: Mapped[int | None]
    """See `incarnations`; None: it has not begun."""
    old_flavor: Mapped[FlavorSnapshot] = mapped_column(AsStruct(FlavorSnapshot))
    new_flavor: Mapped[FlavorSnapshot] = mapped_column(AsStruct(FlavorSnapshot))
    old_vm_state: Mapped[str]
    user_id: Mapped[str]
    project_id: Mapped[str]
    """Who asked for it."""
    owner_id: Mapped[str]
    """The server's project."""
    held_cores: Mapped[int] = mapped_column(default=0)
    held_ram: Mapped[int] = mapped_column(default=0)
    """By how much the larger of both flavors is above the one that the server has: counted for its project as long as
    it may have the other again."""
    aborting: Mapped[bool] = mapped_column(default=False)
    """Somebody asked for the end of it, a live migration."""
    memory_total: Mapped[int] = mapped_column(default=0)
    memory_done: Mapped[int] = mapped_column(default=0)
    disk_total: Mapped[int] = mapped_column(default=0)
    disk_done: Mapped[int] = mapped_column(default=0)
    """How far a live migration is, bytes."""
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime | None]

    __table_args__ = (
        Index("ix_migrations_list", "created_at", "id"),
        Index("ix_migrations_unconfirmed", "updated_at", sqlite_where=UNCONFIRMED, postgresql_where=UNCONFIRMED),
        {"sqlite_autoincrement": True},  # the id of one that is forgotten never becomes another's
    )

    @property
    def incarnations(self) -> Incarnations:
        """Of its guests; those of a move that has not begun are none that a guest has."""
        return Incarnations(self.source_incarnation or 0)


def newest_of(server_id: str, what: Any = Migration) -> Select[Any]:
    """The query for the last move of a server, whatever came of it, or for a column of that."""
    return select(what).where(Migration.server_id == server_id).order_by(Migration.id.desc()).limit(1)
