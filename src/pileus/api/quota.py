"""Quotas: a service's resources, each with its default and what counts it in the transaction that uses it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec
from sqlalchemy import delete, select
from sqlalchemy.orm import Mapped, mapped_column

from pileus.db import Base, Session

Count = Callable[[Session, str], Mapping[str, int]]
"""What a project uses, by resource; one function may count several that one statement finds."""


class QuotaRow(Base):
    """A project's limit that differs from the default; -1 is unlimited."""

    __tablename__ = "quotas"

    project_id: Mapped[str] = mapped_column(primary_key=True)
    service: Mapped[str] = mapped_column(primary_key=True)
    resource: Mapped[str] = mapped_column(primary_key=True)
    hard_limit: Mapped[int]


class Limited(msgspec.Struct, frozen=True):
    """A resource that is limited.

    Attributes:
        default: the limit of a project that has none of its own.
        count: what a project uses; None where the limit is one of each request, or of each user.
    """

    default: int
    count: Count | None = None


class Quotas:
    """The limits of one service.

    Args:
        service: "compute", "network"...
        resources: by their names, which are the service's own.
    """

    def __init__(self, service: str, resources: Mapping[str, Limited]) -> None:
        self.service, self.resources = service, dict(resources)
        self.defaults = {name: resource.default for name, resource in resources.items()}

    def limits(self, session: Session, project_id: str) -> dict[str, int]:
        """Every limit of a project."""
        rows = session.execute(
            select(QuotaRow.resource, QuotaRow.hard_limit).where(
                QuotaRow.project_id == project_id, QuotaRow.service == self.service
            )
        )
        return self.defaults | {row.resource: row.hard_limit for row in rows if row.resource in self.defaults}

    def used(self, session: Session, project_id: str, *names: str) -> dict[str, int]:
        """What a project uses: of these resources, or of all; 0 where nothing counts it."""
        wanted = names or tuple(self.resources)
        found: dict[str, int] = {}
        for count in dict.fromkeys(self.resources[name].count for name in wanted):
            if count is not None:
                found |= count(session, project_id)
        return {name: found.get(name, 0) for name in wanted}

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
        session.lock(f"quota:{self.service}:{project_id}")
