"""Hosts as the scheduler sees them, read from the database."""

from __future__ import annotations

import logging
import platform
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Select, func, literal_column, select
from sqlalchemy.orm import Mapped

from pileus.compute.model import UP_FOR_S, Host, Server
from pileus.db import Session, in_chunks, in_seconds
from pileus.db.among import among
from pileus.placement import allocations
from pileus.placement.model import InventoryRow, ProviderTrait, ResourceProvider

log = logging.getLogger(__name__)
MOST, MOST_RATIO = 2**31, 10_000
"""Nobody may report more; what an earlier release let in the board cannot hold."""
CHUNK = 500
"""So many hosts are read at once, if it is not all."""


class Room(msgspec.Struct, frozen=True):
    """One resource class of a host. `limit` is (total - reserved) x allocation ratio."""

    total: int
    limit: int
    used: int
    max_unit: int


class HostState(msgspec.Struct, frozen=True):
    """A host, and the generation of its provider that this is of: whatever changes it moves that on."""

    provider_id: str
    generation: int
    name: str
    zone: str
    disabled: bool
    forced_down: bool
    hypervisor_type: str
    architecture: str
    rooms: Mapping[str, Room]
    traits: frozenset[str]


Both = tuple[Select[*tuple[Any, ...]], Select[*tuple[Any, ...]]]


def _both(query: Select[*tuple[Any, ...]], provider_id: ColumnElement[str] | Mapped[str]) -> Both:
    """A query of all providers, and of those whose ids are given."""
    return query, query.where(among(provider_id, "ids"))


_SUM = select(
    func.count(), func.coalesce(func.sum(ResourceProvider.generation), 0), func.max(ResourceProvider.created_at)
)
_GENERATIONS = select(ResourceProvider.id, ResourceProvider.generation)
_HOSTS = _both(
    select(
        ResourceProvider.id,
        ResourceProvider.generation,
        Host.name,
        Host.zone,
        Host.disabled,
        Host.forced_down,
        Host.hypervisor_type,
        Host.cpu_info,
    )
    .join(Host, Host.provider_id == ResourceProvider.id)
    .order_by(Host.name),
    ResourceProvider.id,
)
_INVENTORIES = _both(
    select(
        InventoryRow.provider_id,
        InventoryRow.resource_class,
        InventoryRow.total,
        InventoryRow.reserved,
        InventoryRow.allocation_ratio,
        InventoryRow.max_unit,
    ),
    InventoryRow.provider_id,
)
_TRAITS = _both(select(ProviderTrait.provider_id, ProviderTrait.trait), ProviderTrait.provider_id)
_SILENT = select(Host.name).where(Host.last_seen <= select(in_seconds(-UP_FOR_S)).scalar_subquery())
_BUILDING = (
    select(Server.host, func.count())
    # As the partial index has it: with a parameter the index is none for SQLite.
    .where(Server.vm_state == literal_column("'building'"), Server.deleted_at.is_(None), Server.host.is_not(None))
    .group_by(Server.host)
)
# Without a condition on deleted_at, with which SQLite would read every server that was not deleted.
_PLACED = select(Server.project_id, Server.id, Server.host, Server.deleted_at).where(
    among(Server.id, "ids"), Server.host.is_not(None)
)


def summed(session: Session) -> tuple[int, int, datetime | None]:
    """How many providers there are, the sum of their generations, and when the newest was made."""
    [(count, total, newest)] = session.fetch(_SUM)
    return int(count), int(total), newest


def generations(session: Session) -> Sequence[tuple[str, int]]:
    """Every provider's id and generation."""
    return session.fetch(_GENERATIONS)


def load(session: Session, provider_ids: Sequence[str] | None = None) -> list[HostState]:
    """Hosts by name, with inventories, usages and traits: four statements for all; four a chunk for those given."""
    if provider_ids is None:
        return _load(session, None)
    return [host for some in in_chunks(provider_ids, CHUNK) for host in _load(session, list(some))]


def _load(session: Session, ids: list[str] | None) -> list[HostState]:
    def fetch(queries: Both) -> Sequence[Any]:
        return session.fetch(queries[0]) if ids is None else session.fetch(queries[1], ids=ids)

    hosts = fetch(_HOSTS)  # the generations first: what changes while the rest is read has another one
    used = allocations.usages(session, ids)
    rooms: dict[str, dict[str, Room]] = {}
    for provider_id, name, total, reserved, ratio, max_unit in fetch(_INVENTORIES):
        if max(abs(total), abs(reserved), abs(max_unit)) > MOST or not 0 < ratio <= MOST_RATIO:
            log.error("what provider %s has of %s cannot be: nobody is placed there", provider_id, name)
            continue
        in_use = used.get(provider_id, {}).get(name, 0)
        rooms.setdefault(provider_id, {})[name] = Room(total, int((total - reserved) * ratio), in_use, max_unit)
    traits: dict[str, set[str]] = {}
    for provider_id, trait in fetch(_TRAITS):
        traits.setdefault(provider_id, set()).add(trait)
    return [
        HostState(
            provider_id, generation, name, zone, disabled, forced_down, hypervisor_type,
            str(cpu_info.get("arch") or platform.machine()),
            rooms.get(provider_id, {}), frozenset(traits.get(provider_id, ())),
        )
        for provider_id, generation, name, zone, disabled, forced_down, hypervisor_type, cpu_info in hosts
    ]  # fmt: skip


def silent(session: Session) -> list[str]:
    """Names of the hosts that were not heard of for UP_FOR_S seconds."""
    return [name for (name,) in session.fetch(_SILENT)]


def building(session: Session) -> dict[str, int]:
    """How many servers are being built, by host."""
    return dict(session.fetch(_BUILDING))


def placed(session: Session, server_ids: Collection[str]) -> dict[tuple[str, str], str]:
    """The hosts of servers, by project and id; no statement for no servers."""
    rows = session.fetch(_PLACED, ids=list(server_ids)) if server_ids else ()
    return {(row.project_id, row.id): row.host for row in rows if row.deleted_at is None}
