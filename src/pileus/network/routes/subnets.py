"""Subnets (api-ref network, Subnets)."""

from __future__ import annotations

from sqlalchemy import false, select
from sqlalchemy.orm import InstrumentedAttribute

from pileus.api import Context, Values
from pileus.api.filters import Filter, equals
from pileus.api.style import callers
from pileus.db.reading import Load
from pileus.network import ipam, subnets
from pileus.network.attributes import (
    NAME,
    SHOWN,
    STANDARD,
    SWITCH,
    Attribute,
    integer,
    list_of,
    nullable,
    one_of,
    record,
    uuid,
)
from pileus.network.literals import address, prefix
from pileus.network.model import Network, Subnet
from pileus.network.quotas import QUOTAS
from pileus.network.routes.networks import EVERYBODYS, NETWORK
from pileus.network.style import BODY, Noun, standard

_MODE = Attribute(read=nullable(one_of(*subnets.MODES)), put=False, default=None)


def _version(value: object) -> object:
    return one_of(4, 6)(integer()(value))


ATTRIBUTES = STANDARD | {
    "name": NAME,
    "network_id": Attribute(read=uuid, put=False, required=True),
    "ip_version": Attribute(read=_version, put=False, required=True),
    "cidr": Attribute(read=nullable(prefix), put=False, default=None),
    "subnetpool_id": Attribute(read=nullable(uuid), put=False, default=None),
    "gateway_ip": Attribute(read=nullable(address)),
    "allocation_pools": Attribute(
        read=list_of(record(("start", "end"), start=address, end=address), unique=False, maximum=50)
    ),
    "dns_nameservers": Attribute(read=list_of(address, maximum=10)),
    "host_routes": Attribute(
        read=list_of(record(("destination", "nexthop"), destination=prefix, nexthop=address), maximum=40)
    ),
    "enable_dhcp": SWITCH,
    "ipv6_ra_mode": _MODE,
    "ipv6_address_mode": _MODE,
    "router:external": SHOWN,
}


def view(_ctx: Context, row: Subnet) -> Values:
    """A subnet (api-ref network, Show subnet details)."""
    return {
        "id": row.id,
        "name": row.name,
        "network_id": row.network_id,
        "ip_version": row.ip_version,
        "subnetpool_id": None,
        "enable_dhcp": row.enable_dhcp,
        "ipv6_ra_mode": row.ipv6_ra_mode,
        "ipv6_address_mode": row.ipv6_address_mode,
        "gateway_ip": row.gateway_ip,
        "cidr": row.cidr,
        "allocation_pools": ipam.pool_view(row.pools),
        "host_routes": row.host_routes,
        "dns_nameservers": row.dns_nameservers,
        "router:external": row.network.external,
        **standard(row),
    }


def target(row: Subnet) -> Values:
    return of_network(row.network)


def of_network(network: Network) -> Values:
    """What policy rules may ask about the network something is on."""
    return {
        "network:tenant_id": network.project_id,
        "network:project_id": network.project_id,
        "network:shared": network.shared,
        "network:router:external": network.external,
    }


def parent(ctx: Context, values: Values) -> Values:
    """The network must be one that the caller sees; it is looked up once in a transaction."""
    known: dict[str, Values] = ctx.session.info.setdefault(NETWORK, {})
    network_id = values["network_id"]
    if network_id not in known:
        known[network_id] = of_network(NETWORK.find(ctx, network_id, "show", bare=True))
    return known[network_id]


SEEN = Subnet.network_id.in_(select(Network.id).where(callers(Network.project_id) | EVERYBODYS))
"""Who sees a network sees its subnets."""


def _on_network(column: InstrumentedAttribute[bool]) -> Filter:
    """A filter by what the subnet's network is."""
    fits = equals(column)
    return lambda asks, values: Subnet.network_id.in_(select(Network.id).where(fits(asks, values)))


SUBNET = Noun(
    Subnet,
    "subnet",
    missing=("SubnetNotFound", "Subnet {id} could not be found."),
    attributes=ATTRIBUTES,
    view=view,
    loads=[Load(Subnet.network), Load(Subnet.pools)],
    everybodys=SEEN,
    target=target,
    parent=parent,
    filters={
        "shared": _on_network(Network.shared),
        "router:external": _on_network(Network.external),
        "subnetpool_id": lambda _asks, _values: false(),
    },
)
SUBNET.create(body=BODY, bulk=True, quota=QUOTAS.charge("subnet"))(subnets.create)
SUBNET.update(body=BODY)(subnets.update)
SUBNET.delete()(subnets.delete)
routes = SUBNET.routes
