"""Resource providers as the hosts' agents report them."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping

from sqlalchemy import ColumnElement, delete, insert, select

from pileus.agent.commands import Inventory
from pileus.db import Session, utcnow
from pileus.errors import NotFound
from pileus.placement.model import InventoryRow, ProviderTrait, ResourceProvider


def report(
    session: Session, name: str, inventories: Mapping[str, Inventory], traits: tuple[str, ...]
) -> ResourceProvider:
    """Make the provider `name` have exactly these inventories and traits; its generation moves only if they changed."""
    provider = session.scalar(select(ResourceProvider).where(ResourceProvider.name == name))
    now = utcnow()
    if provider is None:
        provider = ResourceProvider(
            id=str(uuid.uuid5(uuid.NAMESPACE_DNS, f"pileus/{name}")),
            name=name,
            generation=0,
            created_at=now,
            updated_at=now,
        )
        session.add(provider)
        session.flush()
    had = {
        row.resource_class: row
        for row in session.scalars(select(InventoryRow).where(InventoryRow.provider_id == provider.id))
    }
    had_traits = set(session.scalars(select(ProviderTrait.trait).where(ProviderTrait.provider_id == provider.id)))
    same = had.keys() == inventories.keys() and all(_same(had[name], inventories[name]) for name in had)
    if same and had_traits == set(traits):
        return provider
    _replace(session, provider.id, inventories, traits)
    provider.generation += 1
    provider.updated_at = now
    return provider


def _replace(session: Session, provider_id: str, inventories: Mapping[str, Inventory], traits: tuple[str, ...]) -> None:
    session.execute(delete(InventoryRow).where(InventoryRow.provider_id == provider_id))
    session.execute(delete(ProviderTrait).where(ProviderTrait.provider_id == provider_id))
    rows = [{"provider_id": provider_id, "resource_class": name, **_values(one)} for name, one in inventories.items()]
    if rows:
        session.execute(insert(InventoryRow), rows)
    if traits:
        session.execute(insert(ProviderTrait), [{"provider_id": provider_id, "trait": name} for name in set(traits)])


def _values(inventory: Inventory) -> dict[str, int | float]:
    return {
        "total": inventory.total,
        "reserved": inventory.reserved,
        "min_unit": inventory.min_unit,
        "max_unit": inventory.max_unit or inventory.total,
        "step_size": inventory.step_size,
        "allocation_ratio": inventory.allocation_ratio,
    }


def _same(row: InventoryRow, inventory: Inventory) -> bool:
    return all(getattr(row, name) == value for name, value in _values(inventory).items())


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
