"""Which providers have room for a request.

Providers are flat: each is a tree of its own and shares with none.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from sqlalchemy import ColumnElement, func, literal, select

from pileus.db import Session
from pileus.errors import Invalid
from pileus.placement import allocations, providers, resource_classes, traits
from pileus.placement.model import Allocation, InventoryRow, ResourceProvider
from pileus.placement.requests import Group, Traits

Condition = ColumnElement[bool]
MOST = 10**18
"""More than any provider has; the database can still add to it."""


class Candidate(msgspec.Struct, frozen=True):
    """A provider that could serve the whole request: what it would give, and its stock, use and traits."""

    provider: ResourceProvider
    resources: dict[str, int]
    inventories: dict[str, InventoryRow]
    used: dict[str, int]
    traits: list[str]


def capacity(row: InventoryRow) -> int:
    """How much of an inventory can be allocated in all."""
    return int((row.total - row.reserved) * row.allocation_ratio)


def room(wanted: Mapping[str, int]) -> list[Condition]:
    """That a provider still has all of these amounts."""
    of_same = (
        Allocation.provider_id == InventoryRow.provider_id,
        Allocation.resource_class == InventoryRow.resource_class,
    )
    used = func.coalesce(select(func.sum(Allocation.used)).where(*of_same).scalar_subquery(), 0)
    most = (InventoryRow.total - InventoryRow.reserved) * InventoryRow.allocation_ratio
    return [_stocked(name, most >= used + amount) for name, amount in wanted.items()]


def units(wanted: Mapping[str, int]) -> list[Condition]:
    """That a provider may be asked for each of these amounts at once."""
    return [
        _stocked(
            name,
            InventoryRow.min_unit <= amount,
            InventoryRow.max_unit >= amount,
            literal(amount, InventoryRow.step_size.type) % InventoryRow.step_size == 0,
        )
        for name, amount in wanted.items()
    ]


def _stocked(name: str, *conditions: Condition) -> Condition:
    own = InventoryRow.provider_id == ResourceProvider.id, InventoryRow.resource_class == name
    return select(InventoryRow.resource_class).where(*own, *conditions).exists()


def find(
    session: Session, groups: Mapping[str, Group], root: Traits, isolate: bool, limit: int | None
) -> list[Candidate]:
    """Providers that serve all groups at once, by name.

    Args:
        groups: by suffix; "" is the one without.
        root: traits that the root of the provider's tree must have, that is the provider.
        isolate: groups with a suffix must be served by different providers: with flat ones no two can be.

    Raises:
        Invalid: an unknown resource class or trait.
    """
    wanted = _total(groups)
    resource_classes.check(session, wanted)
    traits.check(session, root.names.union(*(group.traits.names for group in groups.values())))
    if any(group.in_aggregate for group in groups.values()):
        return []
    if isolate and sum(1 for suffix in groups if suffix) > 1:
        return []
    return _shown(session, providers.search(session, *_conditions(groups, root, wanted), limit=limit), wanted)


def _conditions(groups: Mapping[str, Group], root: Traits, wanted: Mapping[str, int]) -> list[Condition]:
    found = [*room(wanted), *traits.fitting(root)]
    for group in groups.values():
        found += [*units(group.resources), *traits.fitting(group.traits)]
        if group.in_tree is not None:
            found.append(ResourceProvider.id == group.in_tree)
    return found


def _total(groups: Mapping[str, Group]) -> dict[str, int]:
    wanted: dict[str, int] = {}
    for group in groups.values():
        for name, amount in group.resources.items():
            wanted[name] = min(wanted.get(name, 0) + amount, MOST)
    return wanted


def _shown(session: Session, rows: list[ResourceProvider], wanted: dict[str, int]) -> list[Candidate]:
    ids = [row.id for row in rows]
    stock, used = providers.inventories(session, ids), allocations.usages(session, ids)
    had = traits.of(session, ids)
    return [Candidate(row, wanted, stock.get(row.id, {}), used.get(row.id, {}), had[row.id]) for row in rows]


def require_groups(groups: Mapping[str, Group], policy: str | None) -> None:
    """Raises Invalid: nothing is asked for, or several groups without a word on whether they may share."""
    if not any(group.resources for group in groups.values()):
        raise Invalid("There must be at least one resources or resources[$S] parameter.")
    if sum(1 for suffix in groups if suffix) > 1 and policy is None:
        raise Invalid(
            'The "group_policy" parameter is required when specifying more than one "resources{N}" parameter.'
        )
