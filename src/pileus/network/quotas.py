"""Quotas, counted in the transaction that uses them (api-ref network, Quotas extension)."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import func, select

from pileus.api.quota import Count, Limited, Over, Quotas
from pileus.db import Session
from pileus.errors import QuotaExceeded
from pileus.network.model import Network, Port, SecurityGroup, SecurityGroupRule, Standard, Subnet

METADATA_OWNER = "network:distributed"
"""device_owner of the ports that the cloud itself puts on networks; no client gives it to a port, or takes it away."""


def _counted(name: str, model: type[Standard]) -> Count:
    """How many rows a project has; the cloud's own ports do not count."""
    query = select(func.count()).select_from(model)
    if model is Port:
        query = query.where(Port.device_owner != METADATA_OWNER)

    def count(session: Session, project_id: str) -> dict[str, int]:
        return {name: session.scalar(query.where(model.project_id == project_id)) or 0}

    return count


def _exceeded(over: Sequence[Over]) -> QuotaExceeded:
    return QuotaExceeded(f"Quota exceeded for resources: {[one.resource for one in over]}.", "OverQuota")


QUOTAS = Quotas(
    "network",
    {
        "network": Limited(100, _counted("network", Network)),
        "subnet": Limited(100, _counted("subnet", Subnet)),
        "port": Limited(500, _counted("port", Port)),
        "security_group": Limited(10, _counted("security_group", SecurityGroup)),
        "security_group_rule": Limited(100, _counted("security_group_rule", SecurityGroupRule)),
    },
    _exceeded,
)


def take(session: Session, project_id: str, resource: str, count: int = 1) -> None:
    """Raises QuotaExceeded unless the project may have `count` more; nobody else counts until the transaction ends."""
    QUOTAS.take(session, project_id, {resource: count})


def room(session: Session, project_id: str, resource: str, count: int) -> int:
    """How many more, of `count`, the project may have; nobody else counts until the transaction ends."""
    return QUOTAS.take(session, project_id, {resource: 1}, at_least=0, at_most=count)
