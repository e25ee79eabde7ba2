"""Tables of what decides where servers go: server groups and host aggregates."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, and_
from sqlalchemy.orm import Mapped, foreign, mapped_column, relationship

from pileus.compute.model import Server
from pileus.db import Base

AFFINITY, ANTI_AFFINITY = "affinity", "anti-affinity"
SOFT_AFFINITY, SOFT_ANTI_AFFINITY = "soft-affinity", "soft-anti-affinity"
HARD, SOFT = (AFFINITY, ANTI_AFFINITY), (SOFT_AFFINITY, SOFT_ANTI_AFFINITY)
"""Policies of server groups: the hard ones are kept to or nothing is placed, the soft ones as far as possible."""


class ServerGroup(Base):
    """A project's group of servers, and how near to each other they are to be."""

    __tablename__ = "server_groups"

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    project_id: Mapped[str] = mapped_column(index=True)
    user_id: Mapped[str]
    policy: Mapped[str]
    max_server_per_host: Mapped[int | None]
    """Under anti-affinity: how many of its servers one host may have; None: one."""
    created_at: Mapped[datetime]
    servers: Mapped[list[Server]] = relationship(
        viewonly=True,
        primaryjoin=lambda: and_(foreign(Server.group_id) == ServerGroup.id, Server.deleted_at.is_(None)),
        order_by=Server.number,
    )
    """Those that were not deleted, the oldest first."""


class AggregateHost(Base):
    """A host that is in an aggregate."""

    __tablename__ = "aggregate_hosts"

    aggregate_id: Mapped[int] = mapped_column(ForeignKey("aggregates.id", ondelete="CASCADE"), primary_key=True)
    host: Mapped[str] = mapped_column(ForeignKey("hosts.name", ondelete="CASCADE"), primary_key=True, index=True)


class Aggregate(Base):
    """Hosts that administrators look at together; with a zone, those hosts are the zone's."""

    __tablename__ = "aggregates"
    __table_args__ = {"sqlite_autoincrement": True}  # the id of a deleted one never becomes another's

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    uuid: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str] = mapped_column(unique=True)
    availability_zone: Mapped[str | None]
    metadata_: Mapped[dict[str, Any]] = mapped_column("metadata", default=dict)
    """Without the zone, which clients see as a part of it."""
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime | None]
    host_rows: Mapped[list[AggregateHost]] = relationship(cascade="all, delete-orphan", order_by=AggregateHost.host)

    @property
    def hosts(self) -> list[str]:
        """Their names, in alphabetical order."""
        return [row.host for row in self.host_rows]
