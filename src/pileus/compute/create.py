"""Accept a new server: everything is checked, counted and written in the request's own transaction."""

from __future__ import annotations

import base64
import binascii
import re
import secrets
import string
import time

import msgspec
from sqlalchemy import func, select

from pileus.api import Requester, Values
from pileus.api.values import truth
from pileus.compute import flavors, keypairs, metadata, quotas, server_groups
from pileus.compute.actions.boot import boot
from pileus.compute.model import Flavor, Host, KeyPair, Server
from pileus.compute.snapshots import ImageSnapshot, KeySnapshot
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
    """A validated request for servers."""

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
    hints: Values
    group_id: str | None
    admin_pass: str
    own: Own


def prepare(session: Session, asks: Requester, body: Values, hints: Values) -> Wanted:
    """Check a request for servers against everything it names.

    Args:
        body: the "server" object, schema already checked.

    Raises:
        Invalid: naming what is wrong. Forbidden, Conflict: from the network's checks.
    """
    project_id = asks.project_id
    flavor = usable_flavor(session, asks, body["flavorRef"])
    image = usable_image(session, asks, body)
    check_fit(asks, flavor, image)
    key = usable_key(session, asks, body.get("key_name"))
    own = msgspec.convert(body, Own)
    check_user_data(own.user_data)
    metadata.check_quota(session, project_id, own.metadata)
    at_least, at_most = _counts(body)
    networks = requests.validate(session, asks, body.get("networks"))
    _check_batch_networks(networks, at_most)
    groups = [group["name"] for group in body.get("security_groups", [])] or ["default"]
    group_ids = security_groups.resolve(session, project_id, list(dict.fromkeys(groups)))
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
        group_id=server_groups.for_boot(session, asks, hints["group"], at_most).id if "group" in hints else None,
        admin_pass=body.get("adminPass") or new_password(),
        own=own,
    )


def accept(session: Session, asks: Requester, wanted: Wanted, received: float) -> list[Server]:
    """Take the quota, write the servers and start their boot, all in the caller's transaction.

    Args:
        received: when the request began, seconds since the epoch.

    Raises:
        QuotaExceeded: not even the smallest number of servers asked for fits.
    """
    settings, project_id, validated = asks.settings, asks.project_id, time.time()
    count = quotas.take(
        session, project_id, wanted.at_least, wanted.at_most, wanted.flavor.vcpus, wanted.flavor.ram_mib
    )
    requests.require_port_quota(session, project_id, count * sum(1 for one in wanted.networks if not one.port_id))
    counted = time.time()
    session.lock("server-numbers")
    number = (session.scalar(select(func.max(Server.number))) or 0) + 1
    reservation = "r-" + "".join(secrets.choice(string.ascii_lowercase + string.digits) for _ in range(8))
    image = image_snapshot(settings, wanted.image)
    servers = [_server(asks, wanted, image, reservation, number + index, index, count) for index in range(count)]
    session.add_all(servers)
    events = [
        {"name": name, "started": begun, "finished": ended, "outcome": "finished", "detail": {}}
        for name, begun, ended in (("validate", received, validated), ("quota", validated, counted))
    ]
    attempts = 1 if wanted.host else settings.build_attempts
    each = [boot.arguments(one.id, attempts, settings.plug_timeout_s, settings.build_timeout_s) for one in servers]
    boot.start_many(session, Origin(asks.request_id, asks.caller.user_id, project_id), events, each)
    return servers


def image_snapshot(settings: Settings, image: Image) -> ImageSnapshot:
    """What of an image a server keeps."""
    return ImageSnapshot(
        location=images.location(settings, image),
        disk_format=image.disk_format or "",
        size_bytes=image.size or 0,
        sha512=image.os_hash_value or "",
        min_disk=image.min_disk,
        min_ram=image.min_ram,
        properties={key: str(value) for key, value in image.properties.items()},
    )


def usable_key(session: Session, asks: Requester, name: str | None) -> KeyPair | None:
    """The caller's key pair of that name; raises Invalid: there is none."""
    if not name:
        return None
    key = keypairs.find(session, asks.caller.user_id, name)
    if key is None:
        raise Invalid("Invalid key_name provided.")
    return key


def usable_flavor(session: Session, asks: Requester, reference: object) -> Flavor:
    """The flavor that an id or a link names; raises Invalid: none, or none that may be used."""
    flavor_id = str(reference).rstrip("/").rsplit("/", 1)[-1]
    try:
        flavor = flavors.get(session, asks, flavor_id)
    except NotFound as error:
        raise Invalid(error.message) from error
    if flavor.disabled:
        raise Invalid(f"Flavor {flavor_id} could not be found.")
    return flavor


def usable_image(session: Session, asks: Requester, body: Values) -> Image:
    """The image that a body names; raises Invalid: none, or none that a server can boot from."""
    image_id = str(body.get("imageRef") or "").rstrip("/").rsplit("/", 1)[-1]
    for mapping in body.get("block_device_mapping_v2", []):
        local = mapping.get("source_type") == "image" and mapping.get("destination_type") == "local"
        if not local or str(mapping.get("boot_index")) != "0" or mapping.get("uuid") != image_id:
            raise Invalid("Block Device Mapping is Invalid: only the image itself as local boot disk is supported.")
    if not image_id:
        raise Invalid("Invalid imageRef provided: a server boots from an image.")
    try:
        image = images.visible(session, asks.caller.project_id, asks.is_admin, image_id)
    except NotFound:
        raise Invalid("Can not find requested image") from None
    if image.status != "active":
        raise Invalid(f"Image {image_id} is not active.")
    return image


def check_fit(asks: Requester, flavor: Flavor, image: Image) -> None:
    """Raises Invalid: the flavor is too small. Forbidden: a flavor without a disk lets the image choose its size."""
    if flavor.ram_mib < (image.min_ram or 0):
        raise Invalid("Flavor's memory is too small for requested image.")
    if not flavor.root_gib:
        asks.require("os_compute_api:servers:create:zero_disk_flavor")
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


def check_user_data(user_data: str | None) -> None:
    """Raises Invalid unless it is base64."""
    if user_data is None:
        return
    try:
        base64.b64decode(user_data, validate=False)
    except (binascii.Error, ValueError):
        raise Invalid("Userdata content cannot be decoded: user_data must be base64.") from None


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
    if host and session.get(Host, host) is None:
        raise Invalid(f"Compute host {host} could not be found.")
    zones = set(session.scalars(select(Host.zone).distinct()))
    if zone and zones and zone not in zones:
        raise Invalid("The requested availability zone is not available")
    return zone or None, host


def new_password() -> str:
    """A random password."""
    letters = string.ascii_letters + string.digits
    return "".join(secrets.choice(letters) for _ in range(PASSWORD_LENGTH))


def hostname_of(name: str, server_id: str) -> str:
    """A host name from a server's name (RFC 1123); one that leaves nothing becomes Server-<id>."""
    name = re.sub(r"[^A-Za-z0-9.-]", "", re.sub(r"[ _.]", "-", name)).strip("-.").lower()[:63].rstrip("-")
    return name or f"Server-{server_id}"


def _server(
    asks: Requester, wanted: Wanted, image: ImageSnapshot, reservation: str, number: int, index: int, count: int
) -> Server:
    own, key, server_id, now = wanted.own, wanted.key, new_id(), utcnow()
    return Server(
        id=server_id,
        number=number,
        name=wanted.name if count == 1 else f"{wanted.name}-{index + 1}",
        hostname=own.hostname or hostname_of(wanted.name if count == 1 else f"{wanted.name}-{index + 1}", server_id),
        description=own.description,
        project_id=asks.project_id,
        user_id=asks.caller.user_id,
        reservation_id=reservation,
        launch_index=index,
        vm_state=BUILDING,
        power_state=0,
        availability_zone=wanted.zone,
        flavor=flavors.snapshot(wanted.flavor),
        image_id=wanted.image.id,
        image=image,
        key_name=key.name if key else None,
        key=KeySnapshot(public_key=key.public_key, type=key.type, fingerprint=key.fingerprint) if key else None,
        metadata_=own.metadata,
        tags=own.tags,
        user_data=own.user_data,
        config_drive=truth(own.config_drive or False),
        disk_config=own.disk_config,
        admin_pass=wanted.admin_pass,
        networks=wanted.networks,
        security_groups=wanted.security_groups,
        scheduler_hints=wanted.hints,
        group_id=wanted.group_id,
        requested_host=wanted.host,
        access_ip_v4=own.access_ip_v4,
        access_ip_v6=own.access_ip_v6,
        trusted_certs=own.trusted_certs,
        created_at=now,
        updated_at=now,
    )
