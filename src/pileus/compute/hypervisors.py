"""Hypervisors: what the hosts have, what of it is used, and which servers they run."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from sqlalchemy import case, func, select

from pileus.compute.model import Host, Server
from pileus.compute.states import BUILDING
from pileus.db import Session
from pileus.db.among import among
from pileus.db.reading import Reader
from pileus.errors import NotFound
from pileus.placement import allocations, providers


class Use(msgspec.Struct, kw_only=True):
    """Amounts of a hypervisor, or of several together; memory in MiB, disk in GiB.

    What a host keeps for itself counts as used.
    """

    vcpus: int = 0
    vcpus_used: int = 0
    memory_mb: int = 0
    memory_mb_used: int = 0
    local_gb: int = 0
    local_gb_used: int = 0
    running_vms: int = 0
    current_workload: int = 0

    @property
    def free_ram_mb(self) -> int:
        return self.memory_mb - self.memory_mb_used

    @property
    def free_disk_gb(self) -> int:
        return self.local_gb - self.local_gb_used


_NAMES = Reader(Server, only=[Server.number, Server.id, Server.host])
_PLACED = _NAMES.query.where(among(Server.host, "names"), Server.deleted_at.is_(None)).order_by(Server.number)
_FIELDS = {"VCPU": "vcpus", "MEMORY_MB": "memory_mb", "DISK_GB": "local_gb"}


def matching(session: Session, pattern: str) -> list[Host]:
    """Hypervisors whose name contains `pattern`.

    Raises:
        NotFound: none does.
    """
    query = select(Host).where(Host.name.contains(pattern, autoescape=True)).order_by(Host.id)
    found = list(session.scalars(query))
    if not found:
        raise unmatched(pattern)
    return found


def missing(hypervisor_id: str) -> NotFound:
    """The error of an id that no hypervisor has."""
    return NotFound(f"Hypervisor with ID '{hypervisor_id}' could not be found.")


def unmatched(pattern: str) -> NotFound:
    """The error of a pattern that no hypervisor's name contains."""
    return NotFound(f"No hypervisor matching '{pattern}' could be found.")


def servers(session: Session, hosts: Sequence[Host]) -> dict[str, list[Server]]:
    """The servers by host: what tells them from each other, to be shown."""
    names = [host.name for host in hosts]
    found: dict[str, list[Server]] = {name: [] for name in names}
    for server in _NAMES.fetch(session, _PLACED, {"names": names}):
        found[server.host or ""].append(server)
    return found


def use(session: Session, hosts: Sequence[Host]) -> dict[str, Use]:
    """What each host has and what of it is used; three statements, however many hosts."""
    ids = [host.provider_id for host in hosts]
    stock, used = providers.inventories(session, ids), allocations.usages(session, ids)
    counts = _counts(session, [host.name for host in hosts])
    found = {}
    for host in hosts:
        amounts: dict[str, int] = {}
        for resource_class, row in stock.get(host.provider_id, {}).items():
            if name := _FIELDS.get(resource_class):
                amounts[name] = row.total
                taken = used.get(host.provider_id, {}).get(resource_class, 0)
                amounts[f"{name}_used"] = taken + row.reserved
        running, building = counts.get(host.name, (0, 0))
        found[host.name] = Use(running_vms=running, current_workload=building, **amounts)
    return found


def _counts(session: Session, names: list[str]) -> dict[str, tuple[int, int]]:
    """Host to its servers and how many of them are being built."""
    building = func.sum(case((Server.vm_state == BUILDING, 1), else_=0))
    query = (
        select(Server.host, func.count(), building)
        .where(Server.host.in_(names), Server.deleted_at.is_(None))
        .group_by(Server.host)
    )
    return {host or "": (count, int(busy)) for host, count, busy in session.execute(query)}


def total(uses: list[Use]) -> Use:
    """Several hosts' amounts together."""
    names = Use.__struct_fields__
    return Use(**{name: sum(getattr(one, name) for one in uses) for name in names})
