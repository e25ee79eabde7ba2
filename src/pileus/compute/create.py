"""Accept a new server: everything is checked, counted and written in the request's own transaction."""

from __future__ import annotations

import re
import secrets
import string
import time

import msgspec
from sqlalchemy import func, insert, select

from pileus.api import Requester, Values
from pileus.compute import flavors, hosts, metadata, quotas, requested, server_groups, zones
from pileus.compute.actions.boot import boot
from pileus.compute.model import Flavor, KeyPair, Server
from pileus.compute.snapshots import KeySnapshot
from pileus.compute.states import BUILDING
from pileus.db import Session, new_id, utcnow
from pileus.db.tags import Tag
from pileus.errors import Invalid
from pileus.image.model import Image
from pileus.network import requests, security_groups
from pileus.network.requests import NetworkRequest
from pileus.operations import Origin
from pileus.operations.start import start_many
from pileus.values import truth

MAX_BATCH = 1000

_NAMES = {
    "access_ip_v4": "accessIPv4",
    "access_ip_v6": "accessIPv6",
    "disk_config": "OS-DCF:diskConfig",
    "trusted_certs": "trusted_image_certificates",
}


class Own(msgspec.Struct, rename=_NAMES):
    """What of the body concerns nobody but the server itself."""

    description: str | None = None
    hostname: str | None = None
    metadata: dict[str, str] = {}
    tags: list[str] = []
    user_data: str | None = None
    config_drive: bool | str | None = None
    disk_config: str = "MANUAL"
    access_ip_v4: str | None = None
    access_ip_v6: str | None = None
    trusted_certs: list[str] | None = None


class Wanted(msgspec.Struct):
    """A validated request for servers.

    None among the ids of the security groups is the project's default one, which is yet to be made.
    """

    name: str
    flavor: Flavor
    image: Image
    key: KeyPair | None
    networks: list[NetworkRequest]
    security_groups: list[str | None]
    zone: str | None
    host: str | None
    at_least: int
    at_most: int
    hints: Values
    admin_pass: str
    own: Own


def prepare(session: Session, asks: Requester, body: Values, hints: Values) -> Wanted:
    """Check a request for servers against everything it names; this only reads, and nothing need be locked.

    What changes until the servers are accepted is looked at again then (quota, server group), or when they are built
    (networks, ports, security groups, hosts), or the servers have it as it was (flavor, image, key).

    Args:
        body: the "server" object, schema already checked.

    Raises:
        Invalid: naming what is wrong. Forbidden, Conflict: from the network's checks.
    """
    project_id = asks.project_id
    flavor = requested.usable_flavor(session, asks, body["flavorRef"])
    image = requested.usable_image(session, asks, body)
    requested.check_fit(asks, flavors.snapshot(flavor), image)
    key = requested.usable_key(session, asks, body.get("key_name"))
    own = msgspec.convert(body, Own)
    requested.check_user_data(own.user_data)
    metadata.check_quota(session, project_id, own.metadata)
    at_least, at_most = _counts(body)
    networks = requests.validate(session, asks, body.get("networks"))
    _check_batch_networks(networks, at_most)
    groups = [group["name"] for group in body.get("security_groups", [])] or [security_groups.DEFAULT]
    group_ids = security_groups.find(session, project_id, list(dict.fromkeys(groups)))
    zone, host = _zone_and_host(session, asks, body)
    if "query" in hints:
        raise Invalid("Invalid input for field/attribute query: the JSON filter is not enabled.")
    return Wanted(
        name=body["name"],
        flavor=flavor,
        image=image,
        key=key,
        networks=networks,
        security_groups=group_ids,
        zone=zone,
        host=host,
        at_least=at_least,
        at_most=at_most,
        hints=hints,
        admin_pass=body.get("adminPass") or requested.new_password(),
        own=own,
    )


class Accepted(msgspec.Struct):
    """Servers that will be built."""

    ids: list[str]
    reservation_id: str


def accept(session: Session, asks: Requester, wanted: Wanted, received: float) -> Accepted:
    """Take the quota, write the servers and start their boot, all in the caller's transaction.

    Args:
        received: when the request began, seconds since the epoch.

    Raises:
        Invalid: there is no such server group. QuotaExceeded: not even the smallest number of servers asked for fits.
    """
    settings, project_id, validated = asks.settings, asks.project_id, time.time()
    quotas.QUOTAS.lock(session, project_id)  # before the network's, as every request for servers does
    shared = _shared(session, asks, wanted)
    count = quotas.take(
        session, project_id, wanted.at_least, wanted.at_most, wanted.flavor.vcpus, wanted.flavor.ram_mib
    )
    requests.require_port_quota(session, project_id, count * sum(1 for one in wanted.networks if not one.port_id))
    counted = time.time()
    session.lock("server-numbers")
    number = (session.scalar(select(func.max(Server.number))) or 0) + 1
    rows = [
        shared | _own(wanted.name if count == 1 else f"{wanted.name}-{index + 1}", wanted.own, number + index, index)
        for index in range(count)
    ]
    ids = [row["id"] for row in rows]
    session.execute(insert(Server), rows)
    if wanted.own.tags:
        session.execute(insert(Tag), [{"resource_id": id, "tag": tag} for id in ids for tag in set(wanted.own.tags)])
    events = [
        {"name": name, "started": begun, "finished": ended, "outcome": "finished", "detail": {}}
        for name, begun, ended in (("validate", received, validated), ("quota", validated, counted))
    ]
    attempts = 1 if wanted.host else settings.build_attempts
    each = [boot.arguments(id, attempts, settings.plug_timeout_s, settings.build_timeout_s) for id in ids]
    start_many(session, boot.kind, Origin(asks.request_id, asks.caller.user_id, project_id), events, each)
    return Accepted(ids, shared["reservation_id"])


def _counts(body: Values) -> tuple[int, int]:
    at_least = int(body.get("min_count", 1))
    at_most = int(body.get("max_count", at_least))
    for name, value in (("min_count", at_least), ("max_count", at_most)):
        if not 1 <= value <= MAX_BATCH:
            raise Invalid(f"Invalid input for field/attribute {name}. Value: {value}. It must be 1 to {MAX_BATCH}.")
    if at_least > at_most:
        raise Invalid("min_count must be <= max_count")
    return at_least, at_most


def _check_batch_networks(networks: list[NetworkRequest], at_most: int) -> None:
    if at_most > 1 and any(one.port_id for one in networks):
        raise Invalid(
            "Unable to launch multiple instances with a single configured port ID. Please launch your "
            "instance one by one with different ports."
        )
    if at_most > 1 and any(one.fixed_ip for one in networks):
        raise Invalid("Invalid fixed IP request: max_count cannot be greater than 1 if a fixed_ip is specified.")


def _zone_and_host(session: Session, asks: Requester, body: Values) -> tuple[str | None, str | None]:
    zone, host = body.get("availability_zone"), body.get("host") or body.get("hypervisor_hostname")
    if zone and ":" in zone:
        if host:
            raise Invalid(
                "One mechanism with host and/or hypervisor_hostname and another mechanism with zone:host:node are "
                "mutually exclusive."
            )
        zone, _, rest = zone.partition(":")
        host = rest.partition(":")[0] or rest.partition(":")[2] or host
    if host:
        hosts.named(session, host)
    if zone:
        zones.require(session, zone)
    return zone or None, host


def hostname_of(name: str, server_id: str) -> str:
    """A host name from a server's name (RFC 1123); one that leaves nothing becomes Server-<id>."""
    name = re.sub(r"[^A-Za-z0-9.-]", "", re.sub(r"[ _.]", "-", name)).strip("-.").lower()[:63].rstrip("-")
    return name or f"Server-{server_id}"


def _own(name: str, own: Own, number: int, index: int) -> Values:
    """The columns of a server's row that it has to itself."""
    server_id, now = new_id(), utcnow()
    return {
        "id": server_id,
        "number": number,
        "name": name,
        "hostname": own.hostname or hostname_of(name, server_id),
        "launch_index": index,
        "created_at": now,
        "updated_at": now,
    }


def _shared(session: Session, asks: Requester, wanted: Wanted) -> Values:
    """The columns that all servers of a request have alike; what may not have changed is looked at again."""
    own, key = wanted.own, wanted.key
    group = (
        server_groups.for_boot(session, asks, wanted.hints["group"], wanted.at_most)
        if "group" in wanted.hints
        else None
    )
    return {
        "description": own.description,
        "project_id": asks.project_id,
        "user_id": asks.caller.user_id,
        "reservation_id": "r-" + "".join(secrets.choice(string.ascii_lowercase + string.digits) for _ in range(8)),
        "vm_state": BUILDING,
        "power_state": 0,
        "availability_zone": wanted.zone,
        "flavor": flavors.snapshot(wanted.flavor),
        "image_id": wanted.image.id,
        "image": requested.image_snapshot(asks.settings, wanted.image),
        "key_name": key.name if key else None,
        "key": KeySnapshot(public_key=key.public_key, type=key.type, fingerprint=key.fingerprint) if key else None,
        "metadata_": own.metadata,
        "user_data": own.user_data,
        "config_drive": truth(own.config_drive or False),
        "disk_config": own.disk_config,
        "admin_pass": wanted.admin_pass,
        "networks": wanted.networks,
        "security_groups": [
            id or security_groups.default(session, asks.project_id).id for id in wanted.security_groups
        ],
        "scheduler_hints": wanted.hints,
        "group_id": group.id if group else None,
        "requested_host": wanted.host,
        "access_ip_v4": own.access_ip_v4,
        "access_ip_v6": own.access_ip_v6,
        "trusted_certs": own.trusted_certs,
    }
