"""Quotas, counted in the transaction that uses them (api-ref network, Quotas extension)."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import literal

from pileus.api.quota import Limited, Over, Quotas
from pileus.api.quota_uses import Counted
from pileus.db import Session
from pileus.errors import QuotaExceeded
from pileus.network.model import METADATA_OWNER, Network, Port, SecurityGroup, SecurityGroupRule, Subnet

COUNTED = [
    Counted("network", Network.project_id, {"network": literal(1)}),
    Counted("network", Subnet.project_id, {"subnet": literal(1)}),
    Counted("network", Port.project_id, {"port": literal(1)}, Port.device_owner != METADATA_OWNER),
    Counted("network", SecurityGroup.project_id, {"security_group": literal(1)}),
    Counted("network", SecurityGroupRule.project_id, {"security_group_rule": literal(1)}),
]
"""Every row counts but the cloud's own ports."""


def _exceeded(over: Sequence[Over]) -> QuotaExceeded:
    return QuotaExceeded(f"Quota exceeded for resources: {[one.resource for one in over]}.", "OverQuota")


QUOTAS = Quotas(
    "network",
    {
        "network": Limited(100, counted=True),
        "subnet": Limited(100, counted=True),
        "port": Limited(500, counted=True),
        "security_group": Limited(10, counted=True),
        "security_group_rule": Limited(100, counted=True),
    },
    _exceeded,
)


def take(session: Session, project_id: str, resource: str, count: int = 1) -> None:
    """Raises QuotaExceeded unless the project may have `count` more; nobody else counts until the transaction ends."""
    QUOTAS.take(session, project_id, {resource: count})


def room(session: Session, project_id: str, resource: str, count: int) -> int:
    """How many more, of `count`, the project may have; nobody else counts until the transaction ends."""
    return QUOTAS.take(session, project_id, {resource: 1}, at_least=0, at_most=count)
