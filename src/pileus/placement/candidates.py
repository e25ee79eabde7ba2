"""Which providers have room for a request.

Providers are flat: each is a tree of its own and shares with none.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from pileus.db import Session
from pileus.errors import Invalid
from pileus.placement import allocations, providers, resource_classes, traits
from pileus.placement.model import InventoryRow, ResourceProvider
from pileus.placement.requests import Group, Traits


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


def has_room(stock: Mapping[str, InventoryRow], used: Mapping[str, int], wanted: Mapping[str, int]) -> bool:
    """Whether a provider's inventories still hold all the wanted amounts."""
    return all(name in stock and used.get(name, 0) + amount <= capacity(stock[name]) for name, amount in wanted.items())


def fits_units(stock: Mapping[str, InventoryRow], wanted: Mapping[str, int]) -> bool:
    """Whether the amounts are ones that the inventories may be asked for."""
    return all(
        stock[name].min_unit <= amount <= stock[name].max_unit and amount % stock[name].step_size == 0
        for name, amount in wanted.items()
    )


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
    found = [one for one in _all(session, wanted) if _serves(one, groups, root)]
    return found if limit is None else found[:limit]


def _total(groups: Mapping[str, Group]) -> dict[str, int]:
    wanted: dict[str, int] = {}
    for group in groups.values():
        for name, amount in group.resources.items():
            wanted[name] = wanted.get(name, 0) + amount
    return wanted


def _all(session: Session, wanted: dict[str, int]) -> list[Candidate]:
    rows = providers.search(session)
    ids = [row.id for row in rows]
    stock, used = providers.inventories(session, ids), allocations.usages(session, ids)
    had = traits.of(session, ids)
    return [Candidate(row, wanted, stock.get(row.id, {}), used.get(row.id, {}), had[row.id]) for row in rows]


def _serves(one: Candidate, groups: Mapping[str, Group], root: Traits) -> bool:
    if not has_room(one.inventories, one.used, one.resources) or not root.fit(one.traits):
        return False
    return all(
        fits_units(one.inventories, group.resources)
        and group.traits.fit(one.traits)
        and group.in_tree in (None, one.provider.id)
        for group in groups.values()
    )


def with_room(session: Session, found: list[ResourceProvider], wanted: Mapping[str, int]) -> list[ResourceProvider]:
    """Those of the providers that could give the wanted amounts now.

    Raises:
        Invalid: an unknown resource class.
    """
    resource_classes.check(session, wanted)
    ids = [row.id for row in found]
    stock, used = providers.inventories(session, ids), allocations.usages(session, ids)
    return [
        row
        for row in found
        if has_room(stock.get(row.id, {}), used.get(row.id, {}), wanted) and fits_units(stock.get(row.id, {}), wanted)
    ]


def require_groups(groups: Mapping[str, Group], policy: str | None) -> None:
    """Raises Invalid: nothing is asked for, or several groups without a word on whether they may share."""
    if not any(group.resources for group in groups.values()):
        raise Invalid("There must be at least one resources or resources[$S] parameter.")
    if sum(1 for suffix in groups if suffix) > 1 and policy is None:
        raise Invalid(
            'The "group_policy" parameter is required when specifying more than one "resources{N}" parameter.'
        )
