"""Ports (api-ref network, Ports; with the binding, port-security and allowed-address-pairs extensions)."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ColumnElement, or_, select

from pileus.api import Context, Requester, Values
from pileus.api.filters import few
from pileus.api.style import callers
from pileus.db.reading import Load
from pileus.network import ports
from pileus.network.attributes import (
    NAME,
    SHOWN,
    STANDARD,
    SWITCH,
    Attribute,
    boolean,
    list_of,
    mapping,
    nullable,
    one_of,
    record,
    text,
    uuid,
)
from pileus.network.literals import address, mac, prefix
from pileus.network.model import METADATA_OWNER, FixedIP, Network, Port, PortSecurityGroup
from pileus.network.routes.subnets import of_network, parent
from pileus.network.style import BODY, Noun, standard

VIF_DETAILS = {"port_filter": True, "connectivity": "l2", "bound_drivers": {"0": "ovn"}}


def _pair_address(value: object) -> str:
    return prefix(value) if isinstance(value, str) and "/" in value else address(value)


def _device_owner(value: object) -> str:
    """Anything but what marks the cloud's own ports: what bears it is counted in no quota and deleted by nobody."""
    word: str = text()(value)
    if word == METADATA_OWNER:
        raise ValueError(f"'{value}' is the cloud's own")
    return word


ATTRIBUTES = STANDARD | {
    "name": NAME,
    "network_id": Attribute(read=uuid, put=False, required=True),
    "admin_state_up": SWITCH,
    "mac_address": Attribute(read=mac),
    "fixed_ips": Attribute(read=list_of(record(subnet_id=uuid, ip_address=address), unique=False, maximum=50)),
    "device_id": Attribute(read=text(), default=""),
    "device_owner": Attribute(read=_device_owner, default=""),
    "security_groups": Attribute(read=list_of(text(), maximum=100)),
    "allowed_address_pairs": Attribute(
        read=list_of(record(("ip_address",), ip_address=_pair_address, mac_address=nullable(mac)), maximum=10)
    ),
    "port_security_enabled": Attribute(read=boolean),
    "binding:host_id": Attribute(read=nullable(text()), default=""),
    "binding:profile": Attribute(read=mapping, default={}),
    "binding:vnic_type": Attribute(read=one_of("normal"), default="normal"),
    **dict.fromkeys(("status", "binding:vif_type", "binding:vif_details"), SHOWN),
}


def view(_ctx: Context, row: Port) -> Values:
    """A port (api-ref network, Show port details)."""
    return {
        "id": row.id,
        "name": row.name,
        "network_id": row.network_id,
        "mac_address": row.mac_address,
        "admin_state_up": row.admin_state_up,
        "status": row.status,
        "device_id": row.device_id,
        "device_owner": row.device_owner,
        "fixed_ips": [{"subnet_id": one.subnet_id, "ip_address": one.ip_address} for one in row.fixed_ips],
        "allowed_address_pairs": row.allowed_address_pairs,
        "security_groups": row.security_group_ids,
        "port_security_enabled": row.port_security_enabled,
        "binding:vnic_type": row.vnic_type,
        "binding:profile": row.profile,
        "binding:host_id": row.host,
        "binding:vif_type": "ovs" if row.host else "unbound",
        "binding:vif_details": VIF_DETAILS if row.host else {},
        **standard(row),
    }


def target(row: Port) -> Values:
    return of_network(row.network) | {"device_owner": row.device_owner}


SEEN = Port.network_id.in_(select(Network.id).where(callers(Network.project_id)))
"""The owner of a network sees every port on it."""


def _by_address(_asks: Requester, values: Sequence[str]) -> ColumnElement[bool]:
    """fixed_ips=ip_address=A, subnet_id=S or ip_address_substr=T: all kinds given must fit one address."""
    wanted: dict[str, list[str]] = {}
    for value in values:
        kind, equals, rest = value.partition("=")
        if not equals or kind not in ("ip_address", "subnet_id", "ip_address_substr"):
            raise ValueError(f"'{value}' is not of the form ip_address=ADDRESS")
        wanted.setdefault(kind, []).append(rest)
    query = select(FixedIP.port_id)
    if "ip_address" in wanted:
        query = query.where(FixedIP.ip_address.in_(wanted["ip_address"]))
    if "subnet_id" in wanted:
        query = query.where(FixedIP.subnet_id.in_(wanted["subnet_id"]))
    if parts := wanted.get("ip_address_substr"):
        query = query.where(or_(*(FixedIP.ip_address.contains(part, autoescape=True) for part in few(parts))))
    return Port.id.in_(query)


def _by_group(_asks: Requester, values: Sequence[str]) -> ColumnElement[bool]:
    return Port.id.in_(select(PortSecurityGroup.port_id).where(PortSecurityGroup.security_group_id.in_(values)))


PORT = Noun(
    Port,
    "port",
    missing=("PortNotFound", "Port {id} could not be found."),
    attributes=ATTRIBUTES,
    columns=ports.COLUMNS,
    hidden=frozenset({"position", "created_by_compute", "dns_name", "server_id", "device_tag"}),
    view=view,
    loads=[Load(Port.network), Load(Port.fixed_ips), Load(Port.group_links)],
    everybodys=SEEN,
    target=target,
    parent=parent,
    filters={"fixed_ips": _by_address, "security_groups": _by_group},
)
PORT.create_together(body=BODY)(ports.create_many)
PORT.update(body=BODY)(ports.update)
PORT.delete()(ports.delete)
routes = PORT.routes
