"""Traits: the standard ones of os-traits, and custom ones that providers report."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

import os_traits
from sqlalchemy import ColumnElement, select

from pileus.db import Session
from pileus.errors import Invalid, NotFound
from pileus.placement.model import ProviderTrait, ResourceProvider
from pileus.placement.requests import Traits


@cache
def standard() -> frozenset[str]:
    """Names that every cloud knows."""
    return frozenset(os_traits.get_traits())


def associated(session: Session) -> set[str]:
    """Names that some provider has."""
    return set(session.scalars(select(ProviderTrait.trait).distinct()))


def every(session: Session) -> set[str]:
    """All names."""
    return {*standard(), *associated(session)}


def require(session: Session, name: str) -> None:
    """Raises NotFound: there is no such trait."""
    if name not in every(session):
        raise NotFound(f"No such trait(s): {name}.")


def check(session: Session, names: Iterable[str]) -> None:
    """Raises Invalid: some of the names are not traits."""
    unknown = set(names) - standard()
    unknown -= associated(session) if unknown else set()
    if unknown:
        raise Invalid(f"No such trait(s): {', '.join(sorted(unknown))}.")


def fitting(wanted: Traits) -> list[ColumnElement[bool]]:
    """That a provider has of each required choice one trait at least, and of the forbidden ones none."""

    def had(names: Iterable[str]) -> ColumnElement[bool]:
        one = ProviderTrait.provider_id == ResourceProvider.id, ProviderTrait.trait.in_(sorted(names))
        return select(ProviderTrait.trait).where(*one).exists()

    required = [had(names) for names in wanted.required]
    return [*required, ~had(wanted.forbidden)] if wanted.forbidden else required


def of(session: Session, provider_ids: Iterable[str]) -> dict[str, list[str]]:
    """Traits by provider, in order."""
    wanted = list(provider_ids)
    found: dict[str, list[str]] = {provider_id: [] for provider_id in wanted}
    query = select(ProviderTrait).where(ProviderTrait.provider_id.in_(wanted)).order_by(ProviderTrait.trait)
    for row in session.scalars(query):
        found[row.provider_id].append(row.trait)
    return found
