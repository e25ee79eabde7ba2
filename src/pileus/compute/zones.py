"""Availability zones: host aggregates make them; a host that none of them puts into a zone is in the default one."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta

import msgspec
from sqlalchemy import select

from pileus.compute import services
from pileus.compute.model import Host, Server
from pileus.compute.placement_model import Aggregate, AggregateHost
from pileus.db import Session, in_seconds
from pileus.errors import Invalid
from pileus.operations.leases import LEASE_S
from pileus.operations.model import ReplicaRow
from pileus.placement import allocations

DEFAULT, INTERNAL = "nova", "internal"
CONTROL = ("nova-conductor", "nova-scheduler")
"""What a replica is in the words of the reference: it carries operations out, and it places servers."""


class Service(msgspec.Struct, frozen=True):
    """A service as its zone shows it."""

    host: str
    binary: str
    available: bool
    seen: datetime


class Zone(msgspec.Struct):
    """A zone with its enabled services; it is available if it has any enabled host, whether that is up or not."""

    name: str
    services: list[Service]
    available: bool = True


def every(session: Session) -> list[Zone]:
    """The zones of the hosts, available ones first."""
    zones: dict[str, Zone] = {}
    for host in services.every(session):
        zone = zones.setdefault(host.zone, Zone(host.zone, [], available=False))
        if not host.disabled:
            zone.available = True
            zone.services.append(Service(host.name, services.BINARY, host.alive, host.last_seen))
    return sorted(zones.values(), key=lambda zone: (not zone.available, zone.name))


def internal(session: Session) -> Zone:
    """The zone of the control plane: its replicas, under the names that they have in leases."""
    columns = (ReplicaRow.id, ReplicaRow.lease_until, ReplicaRow.lease_until > in_seconds(0))
    replicas = session.execute(select(*columns).order_by(ReplicaRow.id)).all()
    lease = timedelta(seconds=LEASE_S)
    return Zone(INTERNAL, [Service(id, one, alive, until - lease) for id, until, alive in replicas for one in CONTROL])


def require(session: Session, zone: str) -> None:
    """Raises Invalid: hosts are known, and none is in the zone."""
    zones = set(session.scalars(select(Host.zone).distinct()))
    if zones and zone not in zones:
        raise Invalid("The requested availability zone is not available")


def settle(session: Session, hosts: Collection[str]) -> str | None:
    """Make the zones of hosts what their aggregates say, after a change that was made under the lock of placement.

    Returns:
        Why that must not be, and the change with it: None if it may.
    """
    session.flush()
    named: dict[str, set[str]] = {}
    columns = (AggregateHost.host, Aggregate.availability_zone)
    query = select(*columns).join(Aggregate, Aggregate.id == AggregateHost.aggregate_id)
    for host, zone in session.execute(query.where(AggregateHost.host.in_(hosts))):
        if zone is not None:
            named.setdefault(host, set()).add(zone)
    if torn := sorted(zone for zones in named.values() if len(zones) > 1 for zone in zones):
        return f"One or more hosts already in availability zone(s) {torn}"
    rows = session.scalars(select(Host).where(Host.name.in_(hosts)).order_by(Host.name).with_for_update())
    wanted = {row: next(iter(named.get(row.name, ())), DEFAULT) for row in rows}
    moved = [row for row, zone in wanted.items() if row.zone != zone]
    present = (Server.host.in_([row.name for row in moved]), Server.deleted_at.is_(None))
    if moved and session.scalar(select(Server.id).where(*present).limit(1)) is not None:
        return "One or more hosts contain instances in this zone"
    allocations.move_on(session, [row.provider_id for row in moved])
    for row in moved:
        row.zone = wanted[row]
    return None
