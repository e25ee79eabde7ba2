"""What of the network a server has: addresses, interfaces, security groups.

Sources: api-ref compute, Servers IPs, Port interfaces, and Servers: list security groups.
"""

from __future__ import annotations

from pileus.api import Context, Routes, Values
from pileus.compute import schemas, servers, views
from pileus.compute.actions.interfaces import attach_interface, detach_interface
from pileus.compute.model import Server
from pileus.compute.parameters import NO_QUERY_LATE
from pileus.errors import Invalid, NotFound
from pileus.network import addresses, security_groups, server_ports
from pileus.network.model import Port, SecurityGroup, SecurityGroupRule

routes = Routes()
_SERVER = "/v2.1/servers/{server_id}"
_PORTS = _SERVER + "/os-interface"
_INTERFACES = "os_compute_api:os-attach-interfaces:"


def _addresses(ctx: Context, server_id: str, rule: str) -> dict[str, list[Values]]:
    server = servers.find(ctx.session, ctx, server_id, rule)
    return views.addresses(addresses.for_servers(ctx.session, [server.id]).get(server.id, []), extended=False)


@routes.get(_SERVER + "/ips", policy="os_compute_api:ips:index", deferred=True, query=NO_QUERY_LATE)
def ips(ctx: Context, server_id: str) -> Values:
    return {"addresses": _addresses(ctx, server_id, "os_compute_api:ips:index")}


@routes.get(_SERVER + "/ips/{label}", policy="os_compute_api:ips:show", deferred=True, query=NO_QUERY_LATE)
def ips_of_network(ctx: Context, server_id: str, label: str) -> Values:
    found = _addresses(ctx, server_id, "os_compute_api:ips:show")
    if label not in found:
        raise NotFound("Instance is not a member of specified network")
    return {label: found[label]}


def _interface(ctx: Context, port: Port) -> Values:
    view: Values = {
        "net_id": port.network_id,
        "port_id": port.id,
        "mac_addr": port.mac_address,
        "port_state": port.status,
        "fixed_ips": [{"subnet_id": one.subnet_id, "ip_address": one.ip_address} for one in port.fixed_ips],
    }
    return view | ({"tag": port.device_tag} if ctx.at_least("2.70") else {})


def _server_of(ctx: Context, server_id: str, verb: str) -> Server:
    return servers.find(ctx.session, ctx, server_id, _INTERFACES + verb)


@routes.get(_PORTS, policy=_INTERFACES + "list", deferred=True, query=NO_QUERY_LATE)
def interfaces(ctx: Context, server_id: str) -> Values:
    found = server_ports.of_server(ctx.session, _server_of(ctx, server_id, "list").id)
    return {"interfaceAttachments": [_interface(ctx, port) for port in found]}


@routes.get(_PORTS + "/{port_id}", policy=_INTERFACES + "show", deferred=True, query=NO_QUERY_LATE)
def interface(ctx: Context, server_id: str, port_id: str) -> Values:
    server = _server_of(ctx, server_id, "show")
    try:
        return {"interfaceAttachment": _interface(ctx, server_ports.one_of_server(ctx.session, server.id, port_id))}
    except NotFound:
        raise NotFound(f"Instance {server_id} does not have a port with id {port_id}") from None


@routes.post(
    _PORTS,
    policy=_INTERFACES + "create",
    asks=("network:attach_external_network",),
    deferred=True,
    body=schemas.INTERFACE,
    status=200,
)
def attach(ctx: Context, server_id: str, interfaceAttachment: Values) -> Values:
    if interfaceAttachment.get("net_id") and interfaceAttachment.get("port_id"):
        raise Invalid("Must not input both network_id and port_id")
    if interfaceAttachment.get("fixed_ips") and not interfaceAttachment.get("net_id"):
        raise Invalid("Must input network_id when request IP address")
    arguments = attach_interface.ask(ctx.session, ctx, server_id, interfaceAttachment)
    port = server_ports.one_of_server(ctx.session, server_id, arguments.values["port_id"])
    return {"interfaceAttachment": _interface(ctx, port)}


@routes.delete(_PORTS + "/{port_id}", policy=_INTERFACES + "delete", deferred=True, status=202)
def detach(ctx: Context, server_id: str, port_id: str) -> None:
    detach_interface.ask(ctx.session, ctx, server_id, {"port_id": port_id})


def _rule(rule: SecurityGroupRule, names: dict[str, str]) -> Values:
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


def _group(group: SecurityGroup, names: dict[str, str]) -> Values:
    return {
        "id": group.id,
        "name": group.name,
        "description": group.description,
        "tenant_id": group.project_id,
        "rules": [_rule(rule, names) for rule in group.rules if rule.direction == "ingress"],
    }


@routes.get(
    _SERVER + "/os-security-groups", policy="os_compute_api:os-security-groups:list", deferred=True, query=NO_QUERY_LATE
)
def groups(ctx: Context, server_id: str) -> Values:
    server = servers.find(ctx.session, ctx, server_id, "os_compute_api:os-security-groups:list")
    found = security_groups.of_server(ctx.session, server.id)
    names = {group.id: group.name for group in found}
    return {"security_groups": [_group(group, names) for group in found]}
