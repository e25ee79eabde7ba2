"""What the scheduler knows of each host in one pass."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from sqlalchemy import func, select

from pileus.compute.model import Host, Server
from pileus.db import Session
from pileus.placement import allocations
from pileus.placement.model import InventoryRow, ProviderTrait


class Room(msgspec.Struct):
    """One resource class of a host. `limit` is (total - reserved) x allocation ratio."""

    total: int
    limit: int
    used: int
    max_unit: int

    @property
    def free(self) -> int:
        return self.limit - self.used


class HostState(msgspec.Struct):
    """A candidate host; changed as servers of the pass are claimed on it."""

    name: str
    provider_id: str
    zone: str
    up: bool
    disabled: bool
    rooms: dict[str, Room]
    traits: frozenset[str]
    hypervisor_type: str
    cpu_info: dict[str, Any]
    servers: set[tuple[str, str]]
    """Project and id of each."""
    projects: dict[str, int]
    building: int

    def take(self, server_id: str, project_id: str, resources: Mapping[str, int]) -> None:
        """Note a claim of this pass."""
        for name, amount in resources.items():
            if amount:
                self.rooms[name].used += amount
        self.servers.add((project_id, server_id))
        self.projects[project_id] = self.projects.get(project_id, 0) + 1
        self.building += 1


def load(session: Session) -> list[HostState]:
    """Every host with its inventories, usages, traits and servers: five statements, however many hosts."""
    used = allocations.usages(session)
    rooms: dict[str, dict[str, Room]] = {}
    for row in session.scalars(select(InventoryRow)):
        limit = int((row.total - row.reserved) * row.allocation_ratio)
        in_use = used.get(row.provider_id, {}).get(row.resource_class, 0)
        rooms.setdefault(row.provider_id, {})[row.resource_class] = Room(row.total, limit, in_use, row.max_unit)
    traits: dict[str, set[str]] = {}
    for provider_id, trait in session.execute(select(ProviderTrait.provider_id, ProviderTrait.trait)):
        traits.setdefault(provider_id, set()).add(trait)
    servers, projects, building = _servers(session)
    return [
        HostState(
            host.name,
            host.provider_id,
            host.zone,
            host.alive,
            host.disabled,
            rooms.get(host.provider_id, {}),
            frozenset(traits.get(host.provider_id, ())),
            host.hypervisor_type,
            host.cpu_info,
            servers.get(host.name, set()),
            projects.get(host.name, {}),
            building.get(host.name, 0),
        )
        for host in session.scalars(select(Host).order_by(Host.name))
    ]


def _servers(
    session: Session,
) -> tuple[dict[str, set[tuple[str, str]]], dict[str, dict[str, int]], dict[str, int]]:
    """Servers, servers by project, and servers being built, of each host."""
    on_hosts = Server.host.is_not(None) & Server.deleted_at.is_(None)
    servers: dict[str, set[tuple[str, str]]] = {}
    projects: dict[str, dict[str, int]] = {}
    for host, server_id, project_id in session.execute(
        select(Server.host, Server.id, Server.project_id).where(on_hosts)
    ):
        assert host is not None
        servers.setdefault(host, set()).add((project_id, server_id))
        projects.setdefault(host, {})[project_id] = projects.get(host, {}).get(project_id, 0) + 1
    building = select(Server.host, func.count()).where(on_hosts, Server.vm_state == "building").group_by(Server.host)
    return servers, projects, {host: count for host, count in session.execute(building) if host}
