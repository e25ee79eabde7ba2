"""What the first start creates: the external network."""

from __future__ import annotations

from sqlalchemy import select

from pileus.db import Session
from pileus.network import networks, subnets
from pileus.network.model import Network


def bootstrap(session: Session, admin_project_id: str) -> None:
    """Create the external network `public` with its subnet, unless there is an external network already."""
    if session.scalar(select(Network.id).where(Network.external.is_(True)).limit(1)) is not None:
        return
    network = networks.create(
        session,
        {
            "project_id": admin_project_id,
            "name": "public",
            "router:external": True,
            "is_default": True,
            "provider:network_type": "flat",
            "provider:physical_network": "public",
        },
    )
    subnets.create(
        session,
        {
            "project_id": admin_project_id,
            "network_id": network.id,
            "name": "public-subnet",
            "ip_version": 4,
            "cidr": "203.0.113.0/24",
            "gateway_ip": "203.0.113.1",
            "allocation_pools": [{"start": "203.0.113.10", "end": "203.0.113.200"}],
            "enable_dhcp": False,
        },
    )
