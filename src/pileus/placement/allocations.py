"""Allocations: claim resources for a consumer, give them back, sum them up."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from sqlalchemy import delete, func, insert, select, update

from pileus.db import Session, utcnow
from pileus.placement.model import Allocation, Consumer, ResourceProvider

LOCK = "placement"


class Claim(msgspec.Struct):
    """What a consumer takes of one provider; resources by class, in the class's unit."""

    consumer_id: str
    provider_id: str
    project_id: str
    user_id: str
    resources: Mapping[str, int]


def usages(session: Session, provider_ids: list[str] | None = None) -> dict[str, dict[str, int]]:
    """Used amounts by provider and resource class, of all providers or of those given."""
    query = select(Allocation.provider_id, Allocation.resource_class, func.sum(Allocation.used)).group_by(
        Allocation.provider_id, Allocation.resource_class
    )
    if provider_ids is not None:
        query = query.where(Allocation.provider_id.in_(provider_ids))
    found: dict[str, dict[str, int]] = {}
    for provider_id, resource_class, used in session.execute(query):
        found.setdefault(provider_id, {})[resource_class] = int(used)
    return found


def claim(session: Session, claims: list[Claim]) -> None:
    """Record claims that were checked under the lock LOCK in this transaction; providers' generations move on."""
    if not claims:
        return
    session.execute(
        insert(Consumer),
        [{"id": one.consumer_id, "project_id": one.project_id, "user_id": one.user_id} for one in claims],
    )
    session.execute(insert(Allocation), [
        {"consumer_id": one.consumer_id, "provider_id": one.provider_id, "resource_class": name, "used": amount}
        for one in claims for name, amount in one.resources.items() if amount
    ])
    _move_on(session, {one.provider_id for one in claims})


def release(session: Session, consumer_id: str) -> None:
    """Give back all that a consumer holds; nothing there is no error."""
    providers = set(session.scalars(select(Allocation.provider_id).where(Allocation.consumer_id == consumer_id)))
    session.execute(delete(Allocation).where(Allocation.consumer_id == consumer_id))
    session.execute(delete(Consumer).where(Consumer.id == consumer_id))
    _move_on(session, providers)


def _move_on(session: Session, provider_ids: set[str]) -> None:
    if provider_ids:
        session.execute(
            update(ResourceProvider)
            .where(ResourceProvider.id.in_(provider_ids))
            .values(generation=ResourceProvider.generation + 1, updated_at=utcnow())
            .execution_options(synchronize_session=False)
        )
