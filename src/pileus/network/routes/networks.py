"""Networks (api-ref network, Networks)."""

from __future__ import annotations

from pileus.api import Context, Values
from pileus.db.reading import Load
from pileus.network import networks
from pileus.network.attributes import (
    NAME,
    SHOWN,
    STANDARD,
    SWITCH,
    Attribute,
    boolean,
    integer,
    nullable,
    one_of,
    text,
)
from pileus.network.model import Network, Subnet
from pileus.network.quotas import QUOTAS
from pileus.network.style import BODY, Noun, standard

_FLAG = Attribute(read=boolean, default=False)
ATTRIBUTES = STANDARD | {
    "name": NAME,
    "admin_state_up": SWITCH,
    "shared": _FLAG,
    "router:external": _FLAG,
    "is_default": _FLAG,
    "port_security_enabled": SWITCH,
    "mtu": Attribute(read=integer(68, 65535), default=None),
    "provider:network_type": Attribute(read=nullable(one_of("geneve", "flat")), default=None),
    "provider:physical_network": Attribute(read=nullable(text(64)), default=None),
    "provider:segmentation_id": Attribute(read=nullable(integer(1, 2**24 - 1)), default=None),
    **dict.fromkeys(
        (
            "status",
            "subnets",
            "availability_zone_hints",
            "availability_zones",
            "ipv4_address_scope",
            "ipv6_address_scope",
        ),
        SHOWN,
    ),
}


def view(_ctx: Context, row: Network) -> Values:
    """A network (api-ref network, Show network details)."""
    external = {"is_default": row.is_default} if row.external else {}
    return {
        "id": row.id,
        "name": row.name,
        "admin_state_up": row.admin_state_up,
        "mtu": row.mtu,
        "status": "ACTIVE" if row.admin_state_up else "DOWN",
        "subnets": [subnet.id for subnet in row.subnets],
        "shared": row.shared,
        "availability_zone_hints": [],
        "availability_zones": [],
        "ipv4_address_scope": None,
        "ipv6_address_scope": None,
        "router:external": row.external,
        "port_security_enabled": row.port_security_enabled,
        **external,
        **standard(row),
        "provider:network_type": row.network_type,
        "provider:physical_network": row.physical_network,
        "provider:segmentation_id": row.segmentation_id,
    }


def target(row: Network) -> Values:
    return {"shared": row.shared, "router:external": row.external}


EVERYBODYS = Network.shared.is_(True) | Network.external.is_(True)
"""Everybody sees shared and external networks."""


NETWORK = Noun(
    Network,
    "network",
    missing=("NetworkNotFound", "Network {id} could not be found."),
    attributes=ATTRIBUTES,
    columns=networks.COLUMNS,
    hidden=frozenset({"wired"}),
    view=view,
    loads=[Load(Network.subnets, only=[Subnet.id])],
    everybodys=EVERYBODYS,
    target=target,
    filters={
        "status": lambda _asks, values: Network.admin_state_up.in_(
            [{"ACTIVE": True, "DOWN": False}.get(v) for v in values]
        )
    },
)
NETWORK.create(body=BODY, bulk=True, quota=QUOTAS.charge("network"))(networks.create)
NETWORK.update(body=BODY)(networks.update)
NETWORK.delete()(networks.delete)
routes = NETWORK.routes
