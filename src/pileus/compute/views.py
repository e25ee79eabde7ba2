"""How servers look at each microversion (api-ref compute, Servers)."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

from pileus.api import Context, Reply, Values
from pileus.api.fields import micros, seconds
from pileus.compute import server_groups, servers
from pileus.compute.migration_model import Migration
from pileus.compute.model import Server
from pileus.compute.servers import Whole
from pileus.network.addresses import AddressRow
from pileus.operations import Arguments

HOSTS = "os_compute_api:os-extended-server-attributes"
"""Who may see what is the hosts': also the details of what went wrong there."""
RULES = (
    HOSTS,
    "os_compute_api:servers:show:flavor-extra-specs",
    "os_compute_api:servers:show:host_status",
    "os_compute_api:servers:show:host_status:unknown-only",
)
"""What decides which parts of a server a caller sees."""
FAULTY = ("ERROR", "DELETED")
WITH_PROGRESS = ("ACTIVE", "BUILD", "REBUILD", "RESIZE", "VERIFY_RESIZE", "MIGRATING")


def links(ctx: Context, server_id: str) -> list[dict[str, str]]:
    """Self link with the version, bookmark without."""
    return [
        {"rel": "self", "href": ctx.url(f"/v2.1/servers/{server_id}")},
        {"rel": "bookmark", "href": ctx.url(f"/servers/{server_id}")},
    ]


def _bookmark(ctx: Context, collection: str, thing_id: str) -> list[dict[str, str]]:
    return [{"rel": "bookmark", "href": ctx.url(f"/{collection}/{thing_id}")}]


def full(ctx: Context, whole: Whole, detail: bool = False) -> Values:
    """A server of GET /servers/{id}, or of /servers/detail."""
    server = whole.server
    view: Values = {
        "id": server.id,
        "name": server.name,
        "status": whole.status,
        "tenant_id": server.project_id,
        "user_id": server.user_id,
        "metadata": server.metadata_,
        "hostId": whole.host_id,
        "image": _image(ctx, whole),
        "flavor": _flavor(ctx, whole),
        "created": seconds(server.created_at),
        "updated": seconds(server.updated_at),
        "addresses": addresses(whole.addresses, extended=True),
        "accessIPv4": server.access_ip_v4 or "",
        "accessIPv6": str(ip_address(server.access_ip_v6)) if server.access_ip_v6 else "",
        "links": links(ctx, server.id),
        "OS-DCF:diskConfig": server.disk_config,
    }
    if whole.status in WITH_PROGRESS:
        view["progress"] = 0
    if whole.status in FAULTY and whole.fault:
        view["fault"] = _fault(ctx, whole)
    zone = whole.host.zone if whole.host else server.availability_zone or ""
    view |= {
        "OS-EXT-AZ:availability_zone": zone,
        "config_drive": "True" if server.config_drive else "",
        "key_name": server.key_name,
        "OS-SRV-USG:launched_at": micros(server.launched_at),
        "OS-SRV-USG:terminated_at": micros(server.deleted_at),
    }
    if whole.security_groups:
        view["security_groups"] = [{"name": name} for name in whole.security_groups]
    view |= _host_attributes(ctx, whole)
    view |= {
        "OS-EXT-STS:task_state": whole.task_state,
        "OS-EXT-STS:vm_state": server.vm_state,
        "OS-EXT-STS:power_state": server.power_state,
        "os-extended-volumes:volumes_attached": [],
    }
    return view | _later(ctx, whole, detail)


def updated(ctx: Context, whole: Whole) -> Values:
    """A server after PUT /servers/{id}: like a shown one from 2.75 on, without its extensions before."""
    view = full(ctx, whole)
    if ctx.at_least("2.75"):
        return view
    view["addresses"] = addresses(whole.addresses, extended=False)
    left_out = ("config_drive", "key_name", "security_groups", "host_status")
    return {
        name: value
        for name, value in view.items()
        if name not in left_out and (":" not in name or name == "OS-DCF:diskConfig")
    }


def rebuilt(ctx: Context, server: Server, _arguments: Arguments) -> Reply:
    """A server that is being rebuilt: like an updated one, with what rebuild may change and its new password."""
    view = updated(ctx, servers.whole(ctx.session, [server])[0])
    additions = {"2.54": ("key_name", server.key_name), "2.57": ("user_data", server.user_data)}
    view |= {name: value for version, (name, value) in additions.items() if ctx.at_least(version)}
    view.pop("OS-EXT-SRV-ATTR:user_data", None)  # it is at the top here
    view["adminPass"] = server.admin_pass
    return Reply({"server": view}, headers={"Location": view["links"][0]["href"]})


def evacuated(ctx: Context, server: Server, _arguments: Arguments) -> Reply:
    """The new password of a server that is being evacuated; from 2.14 on it is not told."""
    return Reply() if ctx.at_least("2.14") else Reply({"adminPass": server.admin_pass})


def image_made(ctx: Context, _server: Server, arguments: Arguments) -> Reply:
    """The id of an image that is made of a server: in the body from 2.45 on, in the Location before."""
    image_id = arguments.values["image_id"]
    if ctx.at_least("2.45"):
        return Reply({"image_id": image_id})
    return Reply(headers={"Location": f"{ctx.root}/image/v2/images/{image_id}"})


def migration(ctx: Context, move: Migration, *, named: bool) -> Values:
    """What every view of a move has; `named`: with the names of its hosts."""
    shown: Values = {
        "id": move.id,
        "status": move.status,
        "source_compute": move.source_host if named else None,
        "source_node": move.source_host if named else None,
        "dest_compute": move.dest_host if named else None,
        "dest_node": move.dest_host if named else None,
        "dest_host": move.dest_address if named else None,
        "created_at": micros(move.created_at),
        "updated_at": micros(move.updated_at),
    }
    if ctx.at_least("2.59"):
        shown["uuid"] = move.uuid
    if ctx.at_least("2.80"):
        shown |= {"user_id": move.user_id, "project_id": move.project_id}
    return shown


def _later(ctx: Context, whole: Whole, detail: bool) -> Values:
    """What microversions added, oldest first."""
    server, view = whole.server, {}
    additions: list[tuple[str, str, Any]] = [
        ("2.9", "locked", server.locked_by is not None),
        ("2.19", "description", server.description),
        ("2.63", "trusted_image_certificates", server.trusted_certs),
        ("2.73", "locked_reason", server.locked_reason),
        ("2.96", "pinned_availability_zone", server.availability_zone),
        ("2.100", "scheduler_hints", server.scheduler_hints),
    ]
    for version, name, value in additions:
        if ctx.at_least(version):
            view[name] = value
    if ctx.at_least("2.26"):
        view["tags"] = server.tags
    if ctx.at_least("2.71") and not detail:
        view["server_groups"] = server_groups.of_server(server)
    if ctx.at_least("2.16"):
        view |= _host_status(ctx, whole)
    if ctx.at_least("2.90"):
        view["OS-EXT-SRV-ATTR:hostname"] = server.hostname
    return view


def _host_attributes(ctx: Context, whole: Whole) -> Values:
    server = whole.server
    if not ctx.allows(HOSTS, servers.target(server)):
        return {}
    view: Values = {
        "OS-EXT-SRV-ATTR:host": server.host,
        "OS-EXT-SRV-ATTR:instance_name": server.instance_name,
        "OS-EXT-SRV-ATTR:hypervisor_hostname": server.host,
    }
    if ctx.at_least("2.3"):
        view |= {
            "OS-EXT-SRV-ATTR:hostname": server.hostname,
            "OS-EXT-SRV-ATTR:kernel_id": "",
            "OS-EXT-SRV-ATTR:launch_index": server.launch_index,
            "OS-EXT-SRV-ATTR:ramdisk_id": "",
            "OS-EXT-SRV-ATTR:reservation_id": server.reservation_id,
            "OS-EXT-SRV-ATTR:root_device_name": "/dev/vda",
            "OS-EXT-SRV-ATTR:user_data": server.user_data,
        }
    return view


def _host_status(ctx: Context, whole: Whole) -> dict[str, str]:
    """The status of the server's host, to who may see it; UNKNOWN also to who may see no more than that."""
    host, about = whole.host, servers.target(whole.server)
    if host is None:
        shown = ""
    elif host.forced_down:
        shown = "DOWN"
    elif host.disabled:
        shown = "MAINTENANCE"
    else:
        shown = "UP" if host.alive else "UNKNOWN"
    unknown = shown == "UNKNOWN" and ctx.allows("os_compute_api:servers:show:host_status:unknown-only", about)
    seen = unknown or ctx.allows("os_compute_api:servers:show:host_status", about)
    return {"host_status": shown} if seen else {}


def _image(ctx: Context, whole: Whole) -> Values | str:
    server = whole.server
    if not server.image_id:
        return ""
    view: Values = {"id": server.image_id, "links": _bookmark(ctx, "images", server.image_id)}
    if ctx.at_least("2.98"):
        view["properties"] = server.image.properties
    return view


def _flavor(ctx: Context, whole: Whole) -> Values:
    flavor = whole.server.flavor
    if not ctx.at_least("2.47"):
        return {"id": flavor.id, "links": _bookmark(ctx, "flavors", flavor.id)}
    view = {
        "vcpus": flavor.vcpus,
        "ram": flavor.ram,
        "disk": flavor.disk,
        "ephemeral": flavor.ephemeral,
        "swap": flavor.swap,
        "original_name": flavor.original_name,
    }
    if ctx.allows("os_compute_api:servers:show:flavor-extra-specs", servers.target(whole.server)):
        view["extra_specs"] = flavor.extra_specs
    return view


def addresses(rows: list[AddressRow], extended: bool) -> dict[str, list[Values]]:
    """A server's addresses by the label of their network; `extended` ones have their type and MAC address."""
    view: dict[str, list[Values]] = {}
    for row in rows:
        one: Values = {"version": row.version, "addr": row.ip_address}
        if extended:
            one |= {"OS-EXT-IPS:type": "fixed", "OS-EXT-IPS-MAC:mac_addr": row.mac_address}
        view.setdefault(row.network, []).append(one)
    return view


def _fault(ctx: Context, whole: Whole) -> Values:
    assert whole.fault is not None
    view = {
        "code": whole.fault.code,
        "created": seconds(whole.fault.created_at),
        "message": whole.fault.message,
    }
    if whole.fault.details and ctx.allows(HOSTS, servers.target(whole.server)):
        view["details"] = whole.fault.details
    return view
