"""Quotas: counted in the transaction that uses them."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import delete, select
from sqlalchemy.orm import Mapped, mapped_column

from pileus.db import Base, Session


class QuotaRow(Base):
    """A project's limit that differs from the default; -1 is unlimited."""

    __tablename__ = "quotas"

    project_id: Mapped[str] = mapped_column(primary_key=True)
    service: Mapped[str] = mapped_column(primary_key=True)
    resource: Mapped[str] = mapped_column(primary_key=True)
    hard_limit: Mapped[int]


class Quotas:
    """The limits of one service.

    Args:
        service: "compute", "network"...
        defaults: resource name to limit; the names are the service's own.
    """

    def __init__(self, service: str, defaults: Mapping[str, int]) -> None:
        self.service, self.defaults = service, dict(defaults)

    def limits(self, session: Session, project_id: str) -> dict[str, int]:
        """Every limit of a project."""
        rows = session.execute(
            select(QuotaRow.resource, QuotaRow.hard_limit).where(
                QuotaRow.project_id == project_id, QuotaRow.service == self.service
            )
        )
        return self.defaults | {row.resource: row.hard_limit for row in rows}

    def set(self, session: Session, project_id: str, limits: Mapping[str, int]) -> None:
        """Give a project limits of its own."""
        for resource, limit in limits.items():
            session.merge(QuotaRow(project_id=project_id, service=self.service, resource=resource, hard_limit=limit))

    def reset(self, session: Session, project_id: str) -> None:
        """Back to the defaults."""
        session.execute(delete(QuotaRow).where(QuotaRow.project_id == project_id, QuotaRow.service == self.service))

    def lock(self, session: Session, project_id: str) -> None:
        """Let nobody else count this project's use until the transaction ends."""
        session.lock(f"quota:{self.service}:{project_id}")
