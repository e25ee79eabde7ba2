"""What of the network a server has: addresses, interfaces, security groups.

Sources: api-ref compute, Servers IPs, Port interfaces, and Servers: list security groups.
"""

from __future__ import annotations

from typing import Any

from pileus.api import Context, Routes
from pileus.compute import actions, servers, views
from pileus.compute.parameters import NO_QUERY_LATE
from pileus.errors import NotFound
from pileus.network import addresses, ports, security_groups
from pileus.network.model import Port, SecurityGroup, SecurityGroupRule

routes = Routes()
_SERVER = "/v2.1/servers/{server_id}"


def _addresses(ctx: Context, server_id: str) -> dict[str, list[dict[str, Any]]]:
    server = servers.get(ctx.session, server_id, actions.scope(ctx))
    return views.addresses(addresses.for_servers(ctx.session, [server.id]).get(server.id, []), extended=False)


@routes.get(_SERVER + "/ips", policy="os_compute_api:ips:index", query=NO_QUERY_LATE)
def ips(ctx: Context, server_id: str) -> dict[str, Any]:
    return {"addresses": _addresses(ctx, server_id)}


@routes.get(_SERVER + "/ips/{label}", policy="os_compute_api:ips:show", query=NO_QUERY_LATE)
def ips_of_network(ctx: Context, server_id: str, label: str) -> dict[str, Any]:
    found = _addresses(ctx, server_id)
    if label not in found:
        raise NotFound("Instance is not a member of specified network")
    return {label: found[label]}


def _interface(ctx: Context, port: Port, tag: str | None) -> dict[str, Any]:
    view: dict[str, Any] = {
        "net_id": port.network_id,
        "port_id": port.id,
        "mac_addr": port.mac_address,
        "port_state": port.status,
        "fixed_ips": [{"subnet_id": one.subnet_id, "ip_address": one.ip_address} for one in port.fixed_ips],
    }
    return view | ({"tag": tag} if ctx.at_least("2.70") else {})


def _interfaces(ctx: Context, server_id: str) -> list[dict[str, Any]]:
    server = servers.get(ctx.session, server_id, actions.scope(ctx))
    tags = [request.get("tag") for request in server.networks]
    return [
        _interface(ctx, port, tags[port.position] if port.position < len(tags) else None)
        for port in ports.of_server(ctx.session, server.id)
    ]


@routes.get(_SERVER + "/os-interface", policy="os_compute_api:os-attach-interfaces:list", query=NO_QUERY_LATE)
def interfaces(ctx: Context, server_id: str) -> dict[str, Any]:
    return {"interfaceAttachments": _interfaces(ctx, server_id)}


@routes.get(_SERVER + "/os-interface/{port_id}", policy="os_compute_api:os-attach-interfaces:show", query=NO_QUERY_LATE)
def interface(ctx: Context, server_id: str, port_id: str) -> dict[str, Any]:
    for view in _interfaces(ctx, server_id):
        if view["port_id"] == port_id:
            return {"interfaceAttachment": view}
    raise NotFound(f"Instance {server_id} does not have a port with id {port_id}")


def _rule(rule: SecurityGroupRule, names: dict[str, str]) -> dict[str, Any]:
    """A rule in compute's old form, which knows neither directions nor address families."""
    anywhere = "::/0" if rule.ethertype == "IPv6" else "0.0.0.0/0"
    remote = rule.remote_group_id
    ports_ = (rule.port_range_min, rule.port_range_max) if rule.protocol else (None, None)
    return {
        "id": rule.id,
        "parent_group_id": rule.security_group_id,
        "ip_protocol": rule.protocol.upper() if rule.protocol else None,
        "from_port": -1 if rule.protocol and ports_[0] is None else ports_[0],
        "to_port": -1 if rule.protocol and ports_[1] is None else ports_[1],
        "group": {"name": names.get(remote, remote), "tenant_id": rule.project_id} if remote else {},
        "ip_range": {} if remote else {"cidr": rule.normalized_cidr or anywhere},
    }


def _group(group: SecurityGroup, names: dict[str, str]) -> dict[str, Any]:
    return {
        "id": group.id,
        "name": group.name,
        "description": group.description,
        "tenant_id": group.project_id,
        "rules": [_rule(rule, names) for rule in group.rules if rule.direction == "ingress"],
    }


@routes.get(_SERVER + "/os-security-groups", policy="os_compute_api:os-security-groups:list", query=NO_QUERY_LATE)
def groups(ctx: Context, server_id: str) -> dict[str, Any]:
    server = servers.get(ctx.session, server_id, actions.scope(ctx))
    found = security_groups.of_server(ctx.session, server.id)
    names = {group.id: group.name for group in found}
    return {"security_groups": [_group(group, names) for group in found]}
