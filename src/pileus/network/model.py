"""Tables of the network service (api-ref network v2.0)."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, UniqueConstraint, event, inspect
from sqlalchemy.orm import Mapped, mapped_column, relationship, validates

from pileus.db import Base, Session, new_id, utcnow
from pileus.db.tags import Tagged
from pileus.jsontypes import Values
from pileus.network import literals

METADATA_OWNER = "network:distributed"
"""device_owner of the ports that the cloud itself puts on networks; no client gives it to a port, or takes it away."""


class Standard(Tagged):
    """What every object of the network service has.

    `revision_number` and `updated_at` move with every change of the row, or by `touch` when a part of it
    changed.
    """

    id: Mapped[str] = mapped_column(primary_key=True, default=new_id)
    project_id: Mapped[str] = mapped_column(index=True)
    description: Mapped[str] = mapped_column(default="")
    revision_number: Mapped[int] = mapped_column(default=1)
    created_at: Mapped[datetime] = mapped_column(default=utcnow)
    updated_at: Mapped[datetime] = mapped_column(default=utcnow)

    def touch(self) -> None:
        """A part of this object that is kept in another table changed."""
        self.updated_at = utcnow()


class Network(Standard, Base):
    """A layer 2 segment."""

    __tablename__ = "networks"
    __table_args__ = (UniqueConstraint("network_type", "physical_network", "segmentation_id"),)

    name: Mapped[str] = mapped_column(default="", index=True)
    admin_state_up: Mapped[bool] = mapped_column(default=True)
    shared: Mapped[bool] = mapped_column(default=False, index=True)
    external: Mapped[bool] = mapped_column(default=False, index=True)
    is_default: Mapped[bool] = mapped_column(default=False)
    port_security_enabled: Mapped[bool] = mapped_column(default=True)
    mtu: Mapped[int]
    network_type: Mapped[str]
    physical_network: Mapped[str | None]
    segmentation_id: Mapped[int | None]
    wired: Mapped[bool] = mapped_column(default=False)
    """A port of it was bound once: the network's database knows it, and must follow its changes and its end."""

    subnets: Mapped[list[Subnet]] = relationship(
        back_populates="network", cascade="all, delete-orphan", order_by="Subnet.created_at, Subnet.id"
    )


class Subnet(Standard, Base):
    """A block of addresses on a network."""

    __tablename__ = "subnets"

    network_id: Mapped[str] = mapped_column(ForeignKey("networks.id"), index=True)
    name: Mapped[str] = mapped_column(default="", index=True)
    ip_version: Mapped[int]
    cidr: Mapped[str]
    gateway_ip: Mapped[str | None]
    enable_dhcp: Mapped[bool] = mapped_column(default=True)
    ipv6_ra_mode: Mapped[str | None]
    ipv6_address_mode: Mapped[str | None]
    dns_nameservers: Mapped[list[Any]] = mapped_column(default=list)
    host_routes: Mapped[list[Any]] = mapped_column(default=list)

    network: Mapped[Network] = relationship(back_populates="subnets")
    pools: Mapped[list[Pool]] = relationship(cascade="all, delete-orphan", order_by="Pool.position", lazy="selectin")

    @property
    def automatic(self) -> bool:
        """Whether ports make their addresses of their MAC (SLAAC and DHCPv6 stateless)."""
        return self.ipv6_address_mode in ("slaac", "dhcpv6-stateless")


class Pool(Base):
    """A range of a subnet that addresses are given out of, and where to look for the next."""

    __tablename__ = "subnet_pools"

    subnet_id: Mapped[str] = mapped_column(ForeignKey("subnets.id"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    start: Mapped[str]
    end: Mapped[str]
    cursor: Mapped[int]
    """Offset from the subnet's first address at which the search for a free one begins."""


class Port(Standard, Base):
    """An attachment point on a network."""

    __tablename__ = "ports"
    __table_args__ = (
        UniqueConstraint("network_id", "mac_address"),
        Index("ix_ports_list", "created_at", "id"),
        Index("ix_ports_mac", "mac_address"),
        Index("ix_ports_names", "network_id", "dns_name"),
        Index("ix_ports_device", "device_id"),
        Index("ix_ports_server", "server_id", "position"),
    )

    network_id: Mapped[str] = mapped_column(ForeignKey("networks.id"))
    name: Mapped[str] = mapped_column(default="", index=True)
    mac_address: Mapped[str]
    admin_state_up: Mapped[bool] = mapped_column(default=True)
    status: Mapped[str] = mapped_column(default="DOWN")
    device_id: Mapped[str] = mapped_column(default="")
    device_owner: Mapped[str] = mapped_column(default="")
    host: Mapped[str] = mapped_column(default="", index=True)
    """Where the port is bound; empty while it is not."""
    next_host: Mapped[str] = mapped_column(default="")
    """Where its server may be in a moment, which is moved as it runs: what is sent to it arrives there, too."""
    vnic_type: Mapped[str] = mapped_column(default="normal")
    profile: Mapped[Values] = mapped_column(default=dict)
    port_security_enabled: Mapped[bool] = mapped_column(default=True)
    allowed_address_pairs: Mapped[list[Any]] = mapped_column(default=list)
    dns_name: Mapped[str] = mapped_column(default="")
    server_id: Mapped[str | None]
    """The server that has the port. Compute alone says so; `device_id` is what anybody with the port may write."""
    device_tag: Mapped[str | None]
    """What the server's owner calls this interface, for the guest."""
    created_by_compute: Mapped[bool] = mapped_column(default=False)
    """The port came with its server and goes with it."""
    position: Mapped[int] = mapped_column(default=0)
    """Which of its server's ports it is."""

    network: Mapped[Network] = relationship()
    fixed_ips: Mapped[list[FixedIP]] = relationship(
        cascade="all, delete-orphan", order_by="FixedIP.position", lazy="selectin"
    )
    group_links: Mapped[list[PortSecurityGroup]] = relationship(
        cascade="all, delete-orphan", order_by="PortSecurityGroup.security_group_id", lazy="selectin"
    )

    @validates("mac_address")
    def _canonical(self, _name: str, value: str) -> str:
        return literals.mac(value)

    @property
    def security_group_ids(self) -> list[str]:
        return [link.security_group_id for link in self.group_links]


class FixedIP(Base):
    """An address of a port. No address is given twice on a subnet, whoever asks."""

    __tablename__ = "fixed_ips"
    __table_args__ = (Index("ix_fixed_ips_offset", "subnet_id", "offset"),)

    subnet_id: Mapped[str] = mapped_column(ForeignKey("subnets.id"), primary_key=True)
    ip_address: Mapped[str] = mapped_column(primary_key=True, index=True)
    port_id: Mapped[str] = mapped_column(ForeignKey("ports.id"), index=True)
    offset: Mapped[int | None]
    """Distance from the subnet's first address, if it fits 63 bits: the search for free ones goes by it."""
    position: Mapped[int] = mapped_column(default=0)

    @validates("ip_address")
    def _canonical(self, _name: str, value: str) -> str:
        """Whatever way it came: one form of an address is one row, and hosts are told nothing else."""
        return literals.address(value)


class SecurityGroup(Standard, Base):
    """A set of rules that ports may be in."""

    __tablename__ = "security_groups"
    __table_args__ = (Index("ix_security_groups_name", "project_id", "name"),)

    name: Mapped[str] = mapped_column(default="")
    wired: Mapped[bool] = mapped_column(default=False)
    """A port of it was bound once: the network's database knows it, and must follow its changes and its end."""

    rules: Mapped[list[SecurityGroupRule]] = relationship(
        back_populates="group",
        cascade="all, delete-orphan",
        foreign_keys="SecurityGroupRule.security_group_id",
        order_by="SecurityGroupRule.created_at, SecurityGroupRule.id",
    )


class SecurityGroupRule(Standard, Base):
    """What traffic a security group lets through."""

    __tablename__ = "security_group_rules"

    security_group_id: Mapped[str] = mapped_column(ForeignKey("security_groups.id"), index=True)
    direction: Mapped[str]
    ethertype: Mapped[str]
    protocol: Mapped[str | None]
    port_range_min: Mapped[int | None]
    port_range_max: Mapped[int | None]
    remote_ip_prefix: Mapped[str | None]
    normalized_cidr: Mapped[str | None]
    remote_group_id: Mapped[str | None] = mapped_column(ForeignKey("security_groups.id"), index=True)

    group: Mapped[SecurityGroup] = relationship(foreign_keys=[security_group_id], back_populates="rules")


class DefaultGroup(Base):
    """Which of a project's security groups is its default one: there is never a second."""

    __tablename__ = "default_security_groups"

    project_id: Mapped[str] = mapped_column(primary_key=True)
    security_group_id: Mapped[str] = mapped_column(ForeignKey("security_groups.id"), index=True)


class PortSecurityGroup(Base):
    """A port's membership in a security group."""

    __tablename__ = "port_security_groups"

    port_id: Mapped[str] = mapped_column(ForeignKey("ports.id"), primary_key=True)
    security_group_id: Mapped[str] = mapped_column(ForeignKey("security_groups.id"), primary_key=True, index=True)


QUIET = {"wired", "position", "server_id", "device_tag", "created_by_compute"}
"""Columns whose change a client cannot see."""


def _revise(session: Session, *_: object) -> None:
    """Move on the revision of every object that is about to change."""
    for row in session.dirty:
        if isinstance(row, Standard) and _shows_change(row):
            row.revision_number += 1
            row.updated_at = utcnow()


def _shows_change(row: Standard) -> bool:
    """Whether a column has another value; what was not set is not asked, as that would be most of the cost."""
    state = inspect(row)
    touched = (state.committed_state.keys() & state.mapper.column_attrs.keys()) - QUIET
    return any(state.attrs[name].history.has_changes() for name in touched)


event.listen(Session, "before_flush", _revise)
