"""Accept a new server: everything is checked, counted and written in the request's own transaction."""

from __future__ import annotations

import base64
import binascii
import re
import secrets
import string
import time
from typing import Any

import msgspec
from sqlalchemy import func, select

from pileus.api import Requester
from pileus.api.caller import Caller
from pileus.compute import flavors, keypairs, metadata, quotas
from pileus.compute.flows.boot import boot
from pileus.compute.model import Flavor, Host, KeyPair, Server
from pileus.compute.states import BUILDING
from pileus.db import Session, new_id, utcnow
from pileus.errors import Invalid, NotFound
from pileus.image import images
from pileus.image.model import Image
from pileus.network import requests, security_groups
from pileus.network.requests import NetworkRequest
from pileus.operations import Origin
from pileus.settings import Settings

MIB, GIB = 1024**2, 1024**3
MAX_BATCH = 1000
PASSWORD_LENGTH = 12


class Wanted(msgspec.Struct):
    """A validated request for servers; the names are those of the API's body."""

    name: str
    flavor: Flavor
    image: Image
    key: KeyPair | None
    networks: list[NetworkRequest]
    security_groups: list[str]
    zone: str | None
    host: str | None
    at_least: int
    at_most: int
    body: dict[str, Any]
    hints: dict[str, Any]
    admin_pass: str


def prepare(
    session: Session,
    settings: Settings,
    asks: Requester,
    project_id: str,
    body: dict[str, Any],
    hints: dict[str, Any],
) -> Wanted:
    """Check a request for servers against everything it names.

    Args:
        body: the "server" object, schema already checked.

    Raises:
        Invalid: naming what is wrong. Forbidden, Conflict: from the network's checks.
    """
    flavor = _flavor(session, asks, project_id, body)
    image = _image(session, asks, project_id, body)
    _fit(flavor, image)
    key = keypairs.find(session, asks.caller.user_id, body["key_name"]) if body.get("key_name") else None
    if body.get("key_name") and key is None:
        raise Invalid("Invalid key_name provided.")
    _check_user_data(body.get("user_data"))
    metadata.check_quota(session, project_id, body.get("metadata", {}))
    at_least, at_most = _counts(body)
    networks = requests.validate(session, project_id, asks.is_admin, body.get("networks"))
    _check_batch_networks(networks, at_most)
    groups = [group["name"] for group in body.get("security_groups", [])] or ["default"]
    group_ids = security_groups.resolve(session, project_id, list(dict.fromkeys(groups)))
    zone, host = _zone_and_host(session, asks, body)
    _check_hints(hints)
    return Wanted(
        body["name"],
        flavor,
        image,
        key,
        networks,
        group_ids,
        zone,
        host,
        at_least,
        at_most,
        body,
        hints,
        body.get("adminPass") or _password(),
    )


def accept(
    session: Session,
    settings: Settings,
    caller: Caller,
    project_id: str,
    wanted: Wanted,
    request_id: str,
    received: float,
) -> list[Server]:
    """Take the quota, write the servers and start their boot, all in the caller's transaction.

    Args:
        received: when the request began, seconds since the epoch.

    Raises:
        QuotaExceeded: not even the smallest number of servers asked for fits.
    """
    validated = time.time()
    count = quotas.take(
        session, project_id, wanted.at_least, wanted.at_most, wanted.flavor.vcpus, wanted.flavor.ram_mib
    )
    requests.require_port_quota(session, project_id, count * sum(1 for one in wanted.networks if not one.port_id))
    counted = time.time()
    session.lock("server-numbers")
    number = (session.scalar(select(func.max(Server.number))) or 0) + 1
    reservation = "r-" + "".join(secrets.choice(string.ascii_lowercase + string.digits) for _ in range(8))
    servers = [
        _server(settings, caller, project_id, wanted, reservation, number + index, index, count)
        for index in range(count)
    ]
    session.add_all(servers)
    events = [
        {"name": name, "started": begun, "finished": ended, "outcome": "finished", "detail": {}}
        for name, begun, ended in (("validate", received, validated), ("quota", validated, counted))
    ]
    attempts = 1 if wanted.host else settings.build_attempts
    each = [boot.arguments(one.id, attempts, settings.plug_timeout_s, settings.build_timeout_s) for one in servers]
    boot.start_many(session, Origin(request_id, caller.user_id, project_id), events, each)
    return servers


def _flavor(session: Session, asks: Requester, project_id: str, body: dict[str, Any]) -> Flavor:
    flavor_id = str(body["flavorRef"]).rstrip("/").rsplit("/", 1)[-1]
    try:
        flavor = flavors.get(session, flavor_id, project_id, asks.is_admin)
    except NotFound as error:
        raise Invalid(error.message) from error
    if flavor.disabled:
        raise Invalid(f"Flavor {flavor_id} could not be found.")
    return flavor


def _image(session: Session, asks: Requester, project_id: str, body: dict[str, Any]) -> Image:
    image_id = str(body.get("imageRef") or "").rstrip("/").rsplit("/", 1)[-1]
    for mapping in body.get("block_device_mapping_v2", []):
        local = mapping.get("source_type") == "image" and mapping.get("destination_type") == "local"
        if not local or str(mapping.get("boot_index")) != "0" or mapping.get("uuid") != image_id:
            raise Invalid("Block Device Mapping is Invalid: only the image itself as local boot disk is supported.")
    if not image_id:
        raise Invalid("Invalid imageRef provided: a server boots from an image.")
    try:
        image = images.visible(session, project_id, asks.is_admin, image_id)
    except NotFound:
        raise Invalid("Can not find requested image") from None
    if image.status != "active":
        raise Invalid(f"Image {image_id} is not active.")
    return image


def _fit(flavor: Flavor, image: Image) -> None:
    if flavor.ram_mib < (image.min_ram or 0):
        raise Invalid("Flavor's memory is too small for requested image.")
    if not flavor.root_gib:
        return
    size = max(image.size or 0, image.virtual_size or 0)
    if flavor.root_gib * GIB < size:
        raise Invalid(
            f"Flavor's disk is too small for requested image. Flavor disk is {flavor.root_gib * GIB} bytes, image is "
            f"{size} bytes."
        )
    if flavor.root_gib < (image.min_disk or 0):
        raise Invalid(
            "Flavor's disk is smaller than the minimum size specified in image metadata. Flavor disk is "
            f"{flavor.root_gib * GIB} bytes, minimum size is {image.min_disk * GIB} bytes."
        )


def _check_user_data(user_data: str | None) -> None:
    if user_data is None:
        return
    try:
        base64.b64decode(user_data, validate=False)
    except (binascii.Error, ValueError):
        raise Invalid("Userdata content cannot be decoded: user_data must be base64.") from None


def _counts(body: dict[str, Any]) -> tuple[int, int]:
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


def _zone_and_host(session: Session, asks: Requester, body: dict[str, Any]) -> tuple[str | None, str | None]:
    zone, host = body.get("availability_zone"), body.get("host") or body.get("hypervisor_hostname")
    if zone and ":" in zone:
        if host:
            raise Invalid(
                "One mechanism with host and/or hypervisor_hostname and another mechanism with zone:host:node are "
                "mutually exclusive."
            )
        zone, _, rest = zone.partition(":")
        host = rest.partition(":")[0] or rest.partition(":")[2] or host
    if host and session.get(Host, host) is None:
        raise Invalid(f"Compute host {host} could not be found.")
    zones = set(session.scalars(select(Host.zone).distinct()))
    if zone and zones and zone not in zones:
        raise Invalid("The requested availability zone is not available")
    return zone or None, host


def _check_hints(hints: dict[str, Any]) -> None:
    if "group" in hints:
        raise Invalid(f"Invalid input for field/attribute group: server group {hints['group']} could not be found.")
    if "query" in hints:
        raise Invalid("Invalid input for field/attribute query: the JSON filter is not enabled.")


def _password() -> str:
    letters = string.ascii_letters + string.digits
    return "".join(secrets.choice(letters) for _ in range(PASSWORD_LENGTH))


def hostname_of(name: str, server_id: str) -> str:
    """A host name from a server's name (RFC 1123); one that leaves nothing becomes Server-<id>."""
    name = re.sub(r"[^A-Za-z0-9.-]", "", re.sub(r"[ _.]", "-", name)).strip("-.").lower()[:63].rstrip("-")
    return name or f"Server-{server_id}"


def _server(
    settings: Settings,
    caller: Caller,
    project_id: str,
    wanted: Wanted,
    reservation: str,
    number: int,
    index: int,
    count: int,
) -> Server:
    body, server_id, now = wanted.body, new_id(), utcnow()
    name = wanted.name if count == 1 else f"{wanted.name}-{index + 1}"
    image = wanted.image
    return Server(
        id=server_id,
        number=number,
        name=name,
        hostname=body.get("hostname") or hostname_of(name, server_id),
        description=body.get("description"),
        project_id=project_id,
        user_id=caller.user_id,
        reservation_id=reservation,
        launch_index=index,
        vm_state=BUILDING,
        power_state=0,
        availability_zone=wanted.zone,
        flavor=flavors.snapshot(wanted.flavor),
        image_id=image.id,
        image={
            "location": images.location(settings, image),
            "disk_format": image.disk_format,
            "size_bytes": image.size,
            "sha512": image.os_hash_value,
            "min_disk": image.min_disk,
            "min_ram": image.min_ram,
            "properties": {key: str(value) for key, value in image.properties.items()},
        },
        key_name=wanted.key.name if wanted.key else None,
        key={"public_key": wanted.key.public_key, "type": wanted.key.type, "fingerprint": wanted.key.fingerprint}
        if wanted.key
        else None,
        metadata_=body.get("metadata", {}),
        tags=list(dict.fromkeys(body.get("tags", []))),
        user_data=body.get("user_data"),
        config_drive=str(body.get("config_drive")).lower() in ("true", "1", "yes", "on"),
        disk_config=body.get("OS-DCF:diskConfig", "MANUAL"),
        admin_pass=wanted.admin_pass,
        networks=[msgspec.to_builtins(one) for one in wanted.networks],
        security_groups=wanted.security_groups,
        scheduler_hints=wanted.hints,
        requested_host=wanted.host,
        access_ip_v4=body.get("accessIPv4"),
        access_ip_v6=body.get("accessIPv6"),
        trusted_certs=body.get("trusted_image_certificates"),
        created_at=now,
        updated_at=now,
    )
