"""Quotas, counted in the transaction that uses them (api-ref network, Quotas extension)."""

from __future__ import annotations

from typing import Any

from sqlalchemy import func, select

from pileus.api.quota import Quotas
from pileus.db import Session
from pileus.errors import QuotaExceeded
from pileus.network.model import Network, Port, SecurityGroup, SecurityGroupRule, Subnet

METADATA_OWNER = "network:distributed"
"""device_owner of the ports that the cloud itself puts on networks."""

COUNTED: dict[str, Any] = {
    "network": Network,
    "subnet": Subnet,
    "port": Port,
    "security_group": SecurityGroup,
    "security_group_rule": SecurityGroupRule,
}
QUOTAS = Quotas(
    "network",
    {"network": 100, "subnet": 100, "port": 500, "security_group": 10, "security_group_rule": 100},
)


def used(session: Session, project_id: str, resource: str) -> int:
    """How many a project has; the cloud's own ports do not count."""
    model = COUNTED[resource]
    query = select(func.count()).select_from(model).where(model.project_id == project_id)
    if model is Port:
        query = query.where(Port.device_owner != METADATA_OWNER)
    return session.scalar(query) or 0


def over(session: Session, project_id: str, resource: str, count: int) -> bool:
    """Whether `count` more would be too many; nobody else may count until the transaction ends."""
    QUOTAS.lock(session, project_id)
    limit = QUOTAS.limits(session, project_id)[resource]
    return limit >= 0 and used(session, project_id, resource) + count > limit


def take(session: Session, project_id: str, resource: str, count: int = 1) -> None:
    """Raises QuotaExceeded unless the project may have `count` more."""
    if over(session, project_id, resource, count):
        raise QuotaExceeded(f"Quota exceeded for resources: ['{resource}'].", "OverQuota")
