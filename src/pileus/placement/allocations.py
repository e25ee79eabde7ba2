"""Allocations: claim resources for a consumer, give them back, sum them up."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import msgspec
from sqlalchemy import ColumnElement, delete, func, insert, select, tuple_, update

from pileus.db import Contended, Session, utcnow
from pileus.db.among import among
from pileus.placement.model import Allocation, Consumer, ResourceProvider

LOCK = "placement"
"""Held by whoever claims, or changes what is looked at when servers are placed. Who gives something back need not hold
it: that moves a provider's generation, and a claim that reckons with the former one fails."""


class Claim(msgspec.Struct):
    """What a consumer takes of one provider; resources by class, in the class's unit.

    The consumer is a server (type INSTANCE), or a migration that holds for a server what it needs elsewhere.
    """

    consumer_id: str
    provider_id: str
    project_id: str
    user_id: str
    resources: Mapping[str, int]
    consumer_type: str = "INSTANCE"


_USED = select(Allocation.provider_id, Allocation.resource_class, func.sum(Allocation.used)).group_by(
    Allocation.provider_id, Allocation.resource_class
)
_USED_OF = _USED.where(among(Allocation.provider_id, "ids"))


def usages(session: Session, provider_ids: list[str] | None = None) -> dict[str, dict[str, int]]:
    """Used amounts by provider and resource class, of all providers or of those given."""
    rows = session.fetch(_USED) if provider_ids is None else session.fetch(_USED_OF, ids=provider_ids)
    found: dict[str, dict[str, int]] = {}
    for provider_id, resource_class, used in rows:
        found.setdefault(provider_id, {})[resource_class] = int(used)
    return found


def claim(session: Session, claims: list[Claim], generations: Mapping[str, int] | None = None) -> None:
    """Record claims that were checked under the lock LOCK in this transaction; providers' generations move on.

    Args:
        generations: those that the providers had when the claims were checked, by id; None: they are not checked.

    Raises:
        Contended: one has another generation now.
    """
    if not claims:
        return
    if generations is None:
        _move_on(session, ResourceProvider.id.in_({one.provider_id for one in claims}))
    else:
        known = tuple_(ResourceProvider.id, ResourceProvider.generation).in_(list(generations.items()))
        if _move_on(session, known) != len(generations):
            raise Contended("a host changed while servers were placed on it")
    session.execute(
        insert(Consumer),
        [
            {
                "id": one.consumer_id,
                "project_id": one.project_id,
                "user_id": one.user_id,
                "consumer_type": one.consumer_type,
            }
            for one in claims
        ],
    )
    session.execute(
        insert(Allocation),
        [
            {
                "consumer_id": one.consumer_id,
                "provider_id": one.provider_id,
                "resource_class": name,
                "used": amount,
            }
            for one in claims
            for name, amount in one.resources.items()
            if amount
        ],
    )


def release(session: Session, consumer_ids: Collection[str]) -> None:
    """Give back all that consumers hold. Idempotent."""
    held = Allocation.consumer_id.in_(consumer_ids)
    # In one order: others give something back beside this.
    query = select(ResourceProvider.id).where(ResourceProvider.id.in_(select(Allocation.provider_id).where(held)))
    providers = session.scalars(query.order_by(ResourceProvider.id).with_for_update()).all()
    session.change(delete(Allocation).where(held))
    session.change(delete(Consumer).where(Consumer.id.in_(consumer_ids)))
    if providers:
        _move_on(session, ResourceProvider.id.in_(providers))


def is_consumer(session: Session, consumer_id: str) -> bool:
    """Whether this is somebody who holds something."""
    return session.scalar(select(Consumer.id).where(Consumer.id == consumer_id)) is not None


def hand_over(session: Session, consumer_id: str, to: str, consumer_type: str) -> bool:
    """Have another consumer hold all that one holds; False if that holds nothing. Nothing is free or taken by it."""
    former = session.get(Consumer, consumer_id)
    if former is None:
        return False
    kept = {"project_id": former.project_id, "user_id": former.user_id, "consumer_type": consumer_type}
    session.execute(insert(Consumer).values(id=to, generation=1, **kept))
    session.change(update(Allocation).where(Allocation.consumer_id == consumer_id).values(consumer_id=to))
    session.delete(former)
    session.flush()
    return True


def move_on(session: Session, provider_ids: Collection[str]) -> None:
    """Note that something changed that is looked at when servers are placed: the providers' generations move on.

    Call it before anything of the hosts themselves is written (order of locks: operations/model.py).
    """
    if provider_ids:
        session.lock(LOCK)
        _move_on(session, ResourceProvider.id.in_(provider_ids))


def _move_on(session: Session, which: ColumnElement[bool]) -> int:
    """How many providers that were."""
    moved = {"generation": ResourceProvider.generation + 1, "updated_at": utcnow()}
    return session.change(update(ResourceProvider).where(which).values(**moved))


class Held(msgspec.Struct, frozen=True):
    """What a consumer holds of a provider; resources by class."""

    consumer: Consumer
    provider: ResourceProvider
    resources: dict[str, int]


def held(session: Session, *, consumer_id: str | None = None, provider_id: str | None = None) -> list[Held]:
    """Allocations of one consumer, or of one provider."""
    query = (
        select(Allocation, Consumer, ResourceProvider)
        .join(Consumer, Consumer.id == Allocation.consumer_id)
        .join(ResourceProvider, ResourceProvider.id == Allocation.provider_id)
        .order_by(Allocation.consumer_id, Allocation.provider_id, Allocation.resource_class)
    )
    if consumer_id is not None:
        query = query.where(Allocation.consumer_id == consumer_id)
    if provider_id is not None:
        query = query.where(Allocation.provider_id == provider_id)
    found: dict[tuple[str, str], Held] = {}
    for row, consumer, provider in session.execute(query):
        one = found.setdefault((consumer.id, provider.id), Held(consumer, provider, {}))
        one.resources[row.resource_class] = row.used
    return list(found.values())


class Total(msgspec.Struct, frozen=True):
    """What consumers of one type use of a resource class."""

    consumer_type: str
    resource_class: str
    used: int


def project_usages(session: Session, project_id: str, user_id: str | None = None) -> list[Total]:
    """What a project, or a user in it, uses, by type of consumer and resource class."""
    query = (
        select(Consumer.consumer_type, Allocation.resource_class, func.sum(Allocation.used))
        .join(Consumer, Consumer.id == Allocation.consumer_id)
        .where(*_whose(project_id, user_id))
        .group_by(Consumer.consumer_type, Allocation.resource_class)
        .order_by(Consumer.consumer_type, Allocation.resource_class)
    )
    return [Total(kind, name, int(used)) for kind, name, used in session.execute(query)]


def consumer_counts(session: Session, project_id: str, user_id: str | None = None) -> dict[str, int]:
    """How many consumers of each type a project, or a user in it, has."""
    query = (
        select(Consumer.consumer_type, func.count())
        .where(*_whose(project_id, user_id))
        .group_by(Consumer.consumer_type)
    )
    return {str(kind): int(count) for kind, count in session.execute(query)}


def _whose(project_id: str, user_id: str | None) -> list[ColumnElement[bool]]:
    project = Consumer.project_id == project_id
    return [project] if user_id is None else [project, Consumer.user_id == user_id]
