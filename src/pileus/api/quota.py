"""Quotas: a service's resources, each with its default and what counts it in the transaction that uses it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec
from sqlalchemy import bindparam, delete, select
from sqlalchemy.orm import Mapped, mapped_column

from pileus.api import quota_uses
from pileus.db import Base, Session
from pileus.errors import PileusError, QuotaExceeded

Charge = Callable[[Session, str], object]
"""Takes one of something for a project, or raises the service's error."""


class QuotaRow(Base):
    """A project's limit that differs from the default; -1 is unlimited."""

    __tablename__ = "quotas"

    project_id: Mapped[str] = mapped_column(primary_key=True)
    service: Mapped[str] = mapped_column(primary_key=True)
    resource: Mapped[str] = mapped_column(primary_key=True)
    hard_limit: Mapped[int]


_OWN = select(QuotaRow.resource, QuotaRow.hard_limit).where(
    QuotaRow.project_id == bindparam("project_id"), QuotaRow.service == bindparam("service")
)


class Limited(msgspec.Struct, frozen=True):
    """A resource that is limited.

    Attributes:
        default: the limit of a project that has none of its own.
        counted: projects use it (`quota_uses.Counted`); otherwise the limit is one of each request, or of each user.
        unit: how much of what is counted one is, begun ones too.
    """

    default: int
    counted: bool = False
    unit: int = 1


class Over(msgspec.Struct, frozen=True):
    """A resource of which more was asked for than its limit leaves."""

    resource: str
    requested: int
    used: int
    limit: int


def _exceeded(over: Sequence[Over]) -> PileusError:
    each = (f"{one.resource}: limit {one.limit}, used {one.used}, requested {one.requested}" for one in over)
    return QuotaExceeded(f"Quota exceeded for {'; '.join(each)}.")


class Quotas:
    """The limits of one service.

    Args:
        service: "compute", "network"...
        resources: by their names, which are the service's own.
        exceeded: the error, in the service's words, where these have not enough left.
    """

    def __init__(
        self,
        service: str,
        resources: Mapping[str, Limited],
        exceeded: Callable[[Sequence[Over]], PileusError] = _exceeded,
    ) -> None:
        self.service, self.resources, self.exceeded = service, dict(resources), exceeded
        self.defaults = {name: resource.default for name, resource in resources.items()}

    def limits(self, session: Session, project_id: str) -> dict[str, int]:
        """Every limit of a project."""
        rows = session.fetch(_OWN, project_id=project_id, service=self.service)
        return self.defaults | {row.resource: row.hard_limit for row in rows if row.resource in self.defaults}

    def used(self, session: Session, project_id: str, *names: str) -> dict[str, int]:
        """What a project uses: of these resources, or of all; 0 where nothing counts it."""
        return self._in_units(quota_uses.used(session, self.service, project_id), names or tuple(self.resources))

    def _in_units(self, used: Mapping[str, int], names: Iterable[str]) -> dict[str, int]:
        return {name: -(-used.get(name, 0) // self.resources[name].unit) for name in names}

    def over(self, session: Session, project_id: str, limits: Mapping[str, int]) -> dict[str, int]:
        """What of these limits is below what a project uses already: the resources with what is used."""
        used = self.used(session, project_id, *limits) if limits else {}
        return {name: used[name] for name, limit in limits.items() if 0 <= limit < used[name]}

    def projects(self, session: Session) -> list[str]:
        """The projects that have limits of their own."""
        query = select(QuotaRow.project_id).where(QuotaRow.service == self.service).distinct()
        return sorted(session.scalars(query))

    def set(self, session: Session, project_id: str, limits: Mapping[str, int]) -> None:
        """Give a project limits of its own."""
        for resource, limit in limits.items():
            session.merge(QuotaRow(project_id=project_id, service=self.service, resource=resource, hard_limit=limit))
        session.flush()

    def reset(self, session: Session, project_id: str) -> bool:
        """Back to the defaults; whether there were others."""
        own = (QuotaRow.project_id == project_id, QuotaRow.service == self.service)
        return bool(session.change(delete(QuotaRow).where(*own)))

    def lock(self, session: Session, project_id: str) -> None:
        """Let nobody else count this project's use until the transaction ends."""
        quota_uses.lock(session, self.service, project_id)

    def take(
        self, session: Session, project_id: str, each: Mapping[str, int], at_least: int = 1, at_most: int = 1
    ) -> int:
        """`fit`, in the transaction that adds the things: nobody else counts until it ends."""
        used = self._in_units(quota_uses.settled(session, self.service, project_id), each)
        return self.fit(session, project_id, each, at_least, at_most, used)

    def charge(self, resource: str) -> Charge:
        """What takes one of a resource: the `quota` of a noun."""
        return lambda session, project_id: self.take(session, project_id, {resource: 1})

    def fit(
        self,
        session: Session,
        project_id: str,
        each: Mapping[str, int],
        at_least: int = 1,
        at_most: int = 1,
        used: Mapping[str, int] | None = None,
    ) -> int:
        """How many things of one kind, of `at_most`, fit into a project's limits.

        Args:
            each: what one of them needs, by resource.
            used: what counts as used already, where that is not the project's use.

        Raises:
            What `exceeded` makes: not even `at_least` fit.
        """
        limits = self.limits(session, project_id)
        limited = {name: amount for name, amount in each.items() if amount and limits[name] >= 0}
        counted = used if used is not None else self.used(session, project_id, *limited) if limited else {}
        fits = {name: max(0, (limits[name] - counted[name]) // amount) for name, amount in limited.items()}
        over = [
            Over(name, at_least * limited[name], counted[name], limits[name])
            for name, count in fits.items()
            if count < at_least
        ]
        if over:
            raise self.exceeded(over)
        return min(at_most, *fits.values()) if fits else at_most
