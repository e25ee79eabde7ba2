"""Resource providers as the hosts' agents report them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec
from sqlalchemy import ColumnElement, delete, insert, select

from pileus.agent.commands import HostReport
from pileus.db import Session, new_id, utcnow
from pileus.db.among import among
from pileus.errors import NotFound
from pileus.placement import allocations
from pileus.placement.model import InventoryRow, ProviderTrait, ResourceProvider

_IDS = select(ResourceProvider.name, ResourceProvider.id).where(among(ResourceProvider.name, "names"))
_COUNTED = ("total", "reserved", "min_unit", "max_unit", "step_size", "allocation_ratio")
_INVENTORIES = select(
    InventoryRow.provider_id, InventoryRow.resource_class, *(getattr(InventoryRow, name) for name in _COUNTED)
).where(among(InventoryRow.provider_id, "ids"))
_TRAITS = select(ProviderTrait.provider_id, ProviderTrait.trait).where(among(ProviderTrait.provider_id, "ids"))


class Stock(msgspec.Struct):
    """What a provider has: the values of each resource class's inventory, in the order of _COUNTED, and its traits."""

    inventories: dict[str, tuple[float, ...]]
    traits: set[str]


def report(session: Session, hosts: Sequence[HostReport]) -> dict[str, str]:
    """Make the providers of these hosts have exactly what is reported; one's generation moves only if that changed.

    Returns:
        The providers' ids by name.
    """
    ids = dict(session.fetch(_IDS, names=[host.name for host in hosts]))
    new = {host.name: new_id() for host in hosts if host.name not in ids}
    _add(session, new)
    ids |= new
    had = _stocks(session, list(ids.values()))
    told = {ids[host.name]: _told(host) for host in hosts}
    changed = {provider_id: stock for provider_id, stock in told.items() if stock != had[provider_id]}
    allocations.move_on(session, changed.keys())
    _replace(session, changed)
    return ids


def remove(session: Session, provider_id: str) -> None:
    """A provider goes with its inventories and traits; nobody uses anything of it."""
    session.change(delete(ResourceProvider).where(ResourceProvider.id == provider_id))


def _add(session: Session, ids: Mapping[str, str]) -> None:
    """Make providers, of these ids by name: never those of one that was removed, whose generations began as well."""
    now = utcnow()
    same = {"generation": 0, "created_at": now, "updated_at": now}
    if ids:
        session.execute(insert(ResourceProvider), [{"id": id, "name": name, **same} for name, id in ids.items()])


def _told(host: HostReport) -> Stock:
    counted: dict[str, tuple[float, ...]] = {
        name: (one.total, one.reserved, one.min_unit, one.max_unit or one.total, one.step_size, one.allocation_ratio)
        for name, one in host.inventories.items()
    }
    return Stock(counted, set(host.traits))


def _stocks(session: Session, provider_ids: Sequence[str]) -> dict[str, Stock]:
    """What providers have, by id."""
    found = {provider_id: Stock({}, set()) for provider_id in provider_ids}
    for provider_id, name, *values in session.fetch(_INVENTORIES, ids=provider_ids):
        found[provider_id].inventories[name] = tuple(values)
    for provider_id, trait in session.fetch(_TRAITS, ids=provider_ids):
        found[provider_id].traits.add(trait)
    return found


def _replace(session: Session, stocks: Mapping[str, Stock]) -> None:
    if not stocks:
        return
    session.change(delete(InventoryRow).where(InventoryRow.provider_id.in_(stocks)))
    session.change(delete(ProviderTrait).where(ProviderTrait.provider_id.in_(stocks)))
    inventories = [
        {"provider_id": provider_id, "resource_class": name, **dict(zip(_COUNTED, values, strict=True))}
        for provider_id, stock in stocks.items()
        for name, values in stock.inventories.items()
    ]
    traits = [
        {"provider_id": provider_id, "trait": name} for provider_id, stock in stocks.items() for name in stock.traits
    ]
    for table, rows in ((InventoryRow, inventories), (ProviderTrait, traits)):
        if rows:
            session.execute(insert(table), rows)


def inventories(session: Session, provider_ids: Iterable[str]) -> dict[str, dict[str, InventoryRow]]:
    """Inventories by provider and resource class."""
    query = select(InventoryRow).where(InventoryRow.provider_id.in_(list(provider_ids)))
    found: dict[str, dict[str, InventoryRow]] = {}
    for row in session.scalars(query.order_by(InventoryRow.resource_class)):
        found.setdefault(row.provider_id, {})[row.resource_class] = row
    return found


def get(session: Session, provider_id: str) -> ResourceProvider:
    """Raises NotFound: there is no provider with this UUID."""
    provider = session.get(ResourceProvider, provider_id)
    if provider is None:
        raise NotFound(f"No resource provider with uuid {provider_id} found")
    return provider


def search(session: Session, *conditions: ColumnElement[bool], limit: int | None = None) -> list[ResourceProvider]:
    """Providers that fit all conditions, by name."""
    query = select(ResourceProvider).where(*conditions).order_by(ResourceProvider.name)
    return list(session.scalars(query.limit(limit)))
