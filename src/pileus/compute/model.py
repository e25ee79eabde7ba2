"""Tables of compute."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, Text, text
from sqlalchemy.orm import Mapped, column_property, mapped_column

from pileus.agent.commands import Hardware
from pileus.compute.snapshots import FlavorSnapshot, ImageSnapshot, KeySnapshot, News
from pileus.db import Base, in_seconds, utcnow
from pileus.db.structs import AsStruct
from pileus.db.tags import Tagged
from pileus.network.requests import NetworkRequest

UP_FOR_S = 30.0
"""A host not heard of for this long counts as down."""
_BUILDING, _THERE, _GONE = text("vm_state = 'building'"), text("deleted_at IS NULL"), text("deleted_at IS NOT NULL")
_ON_SHELF = text("shelved_at IS NOT NULL")


class Host(Base):
    """A hypervisor host: its compute service and its hypervisor in one, as an agent reports it."""

    __tablename__ = "hosts"

    name: Mapped[str] = mapped_column(primary_key=True)
    id: Mapped[int]
    service_id: Mapped[str]
    provider_id: Mapped[str] = mapped_column(ForeignKey("resource_providers.id"), index=True)
    zone: Mapped[str] = mapped_column(default="nova")
    hypervisor_type: Mapped[str]
    hypervisor_version: Mapped[int]
    host_ip: Mapped[str]
    cpu_info: Mapped[dict[str, Any]]
    hardware: Mapped[Hardware] = mapped_column(
        AsStruct(Hardware), default=Hardware(), server_default="{}", deferred=True
    )
    """Read by those who ask for it only: it may be long."""
    disabled: Mapped[bool] = mapped_column(default=False)
    disabled_reason: Mapped[str | None]
    forced_down: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    last_seen: Mapped[datetime] = mapped_column()
    """When the host's agent was last heard of, by the database's clock."""
    heard_lately: Mapped[bool] = column_property(last_seen > in_seconds(-UP_FOR_S))
    """Whether that is no longer ago than UP_FOR_S, judged by the database as well."""

    @property
    def alive(self) -> bool:
        """Whether the host's agent was heard of lately and nobody forced the host down."""
        return self.heard_lately and not self.forced_down


class UnknownGuest(Base):
    """A guest, or what is left of one, that a host reports and no server of ours accounts for.

    It is never destroyed unasked: an operator adopts or discards it.
    """

    __tablename__ = "unknown_guests"

    host: Mapped[str] = mapped_column(ForeignKey("hosts.name", ondelete="CASCADE"), primary_key=True)
    server_id: Mapped[str] = mapped_column(primary_key=True)
    incarnation: Mapped[int]
    power_state: Mapped[int | None]
    """None: only files or instance data are there."""
    first_seen: Mapped[datetime]


class Flavor(Base):
    """Sizes of a server: memory in MiB, disks in GiB, swap in MiB."""

    __tablename__ = "flavors"

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    vcpus: Mapped[int]
    ram_mib: Mapped[int]
    root_gib: Mapped[int]
    ephemeral_gib: Mapped[int] = mapped_column(default=0)
    swap_mib: Mapped[int] = mapped_column(default=0)
    rxtx_factor: Mapped[float] = mapped_column(default=1.0)
    is_public: Mapped[bool] = mapped_column(default=True)
    disabled: Mapped[bool] = mapped_column(default=False)
    description: Mapped[str | None] = mapped_column(Text)
    extra_specs: Mapped[dict[str, Any]] = mapped_column(default=dict)
    created_at: Mapped[datetime]


class FlavorAccess(Base):
    """A project that may use a flavor that is not public."""

    __tablename__ = "flavor_access"

    flavor_id: Mapped[str] = mapped_column(ForeignKey("flavors.id", ondelete="CASCADE"), primary_key=True)
    project_id: Mapped[str] = mapped_column(primary_key=True)


class KeyPair(Base):
    """A user's public key."""

    __tablename__ = "key_pairs"

    user_id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    id: Mapped[int]
    type: Mapped[str]
    public_key: Mapped[str] = mapped_column(Text)
    fingerprint: Mapped[str]
    created_at: Mapped[datetime]


class Server(Tagged, Base):
    """A server. Its task_state is what its live operation projects; its addresses are the network's rows."""

    __tablename__ = "servers"

    id: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(unique=True)
    """Counts servers up; names the guest: instance-0000002a."""
    name: Mapped[str] = mapped_column(index=True)
    hostname: Mapped[str]
    description: Mapped[str | None] = mapped_column(Text)
    project_id: Mapped[str]
    user_id: Mapped[str]
    reservation_id: Mapped[str]
    launch_index: Mapped[int] = mapped_column(default=0)
    vm_state: Mapped[str]
    power_state: Mapped[int] = mapped_column(default=0)
    host: Mapped[str | None] = mapped_column(ForeignKey("hosts.name"), index=True)
    incarnation: Mapped[int] = mapped_column(default=0, server_default="0")
    """How often the server was placed on a host: tells its guest there from older ones."""
    prepared: Mapped[int] = mapped_column(default=0, server_default="0")
    """The newest incarnation that was made ready on another host than the server's, whatever became of it."""
    news: Mapped[News | None] = mapped_column(AsStruct(News))
    """What its guest did by itself while an operation was under way."""
    availability_zone: Mapped[str | None]
    """The zone that was asked for, None if any would do."""
    flavor: Mapped[FlavorSnapshot] = mapped_column(AsStruct(FlavorSnapshot))
    """The flavor as it was at creation."""
    image_id: Mapped[str | None]
    image: Mapped[ImageSnapshot] = mapped_column(AsStruct(ImageSnapshot))
    """What of the image the guest needs, as it was when it was built."""
    key_name: Mapped[str | None]
    key: Mapped[KeySnapshot | None] = mapped_column(AsStruct(KeySnapshot))
    metadata_: Mapped[dict[str, Any]] = mapped_column("metadata", default=dict)
    user_data: Mapped[str | None] = mapped_column(Text)
    config_drive: Mapped[bool] = mapped_column(default=False)
    disk_config: Mapped[str] = mapped_column(default="MANUAL")
    admin_pass: Mapped[str | None]
    """Kept only until the guest has been built."""
    networks: Mapped[list[NetworkRequest]] = mapped_column(AsStruct(list[NetworkRequest]))
    """The network requests, in order."""
    security_groups: Mapped[list[Any]]
    """Ids of the requested security groups."""
    scheduler_hints: Mapped[dict[str, Any]] = mapped_column(default=dict)
    group_id: Mapped[str | None] = mapped_column(ForeignKey("server_groups.id"), index=True)
    """The server group (`placement_model`) that it joined at creation."""
    requested_host: Mapped[str | None]
    access_ip_v4: Mapped[str | None]
    access_ip_v6: Mapped[str | None]
    trusted_certs: Mapped[list[Any] | None]
    locked_by: Mapped[str | None]
    """Whether its owner or an administrator locked it: "owner" or "admin"."""
    locked_reason: Mapped[str | None]
    shelved_image_id: Mapped[str | None]
    """The image that a shelved server comes back from."""
    shelved_at: Mapped[datetime | None]
    """When it was shelved, by the database's clock, while it is still on its host."""
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    launched_at: Mapped[datetime | None]
    deleted_at: Mapped[datetime | None]

    __table_args__ = (
        # Partial ones, none that begins with deleted_at: SQLite would prefer that to one on a host or a server group,
        # and read every server.
        Index("ix_servers_list", "project_id", "created_at", "id", sqlite_where=_THERE, postgresql_where=_THERE),
        Index("ix_servers_everybodys", "created_at", "id", sqlite_where=_THERE, postgresql_where=_THERE),
        Index("ix_servers_deleted", "deleted_at", sqlite_where=_GONE, postgresql_where=_GONE),
        Index("ix_servers_updated", "updated_at"),
        Index("ix_servers_reservation", "reservation_id"),
        Index("ix_servers_building", "deleted_at", "host", sqlite_where=_BUILDING, postgresql_where=_BUILDING),
        Index("ix_servers_shelved", "shelved_at", sqlite_where=_ON_SHELF, postgresql_where=_ON_SHELF),
    )

    @property
    def next_incarnation(self) -> int:
        """One that no guest of it ever had, on any host."""
        return max(self.incarnation, self.prepared) + 1

    def touch(self) -> None:
        """Note that the server changed now."""
        self.updated_at = utcnow()

    @property
    def instance_name(self) -> str:
        """The guest's name on its host."""
        return f"instance-{self.number:08x}"


class ServerFault(Base):
    """Why a server went wrong, newest last."""

    __tablename__ = "server_faults"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    server_id: Mapped[str] = mapped_column(ForeignKey("servers.id", ondelete="CASCADE"), index=True)
    code: Mapped[int]
    message: Mapped[str]
    details: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime]
