"""The EC2 format of instance data, which many guests still ask for (nova user guide, "Metadata")."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from pileus.agent.commands import GuestSpec
from pileus.agent.metadata.openstack import user_data

VERSIONS = (
    "1.0",
    "2007-01-19",
    "2007-03-01",
    "2007-08-29",
    "2007-10-10",
    "2007-12-15",
    "2008-02-01",
    "2008-09-01",
    "2009-04-04",
)
LATEST = "latest"

Tree = dict[str, Any]
"""Directories are dicts; leaves are str, bytes, or lists of str."""

NAME = "_name"
"""Key under which a directory keeps the name it is listed by: public keys are listed as `0=name`."""


def tree(guest: GuestSpec, version: str) -> Tree:
    """Everything below `/<version>`."""
    found: Tree = {"meta-data": meta_data(guest, VERSIONS[-1] if version == LATEST else version)}
    script = user_data(guest)
    if script is not None:
        found["user-data"] = script
    return found


def meta_data(guest: GuestSpec, version: str) -> Tree:
    """The `meta-data` directory as `version` shows it."""
    data = guest.data
    shown: Tree = {
        "ami-id": f"ami-{_short(guest.image.id)}" if guest.image else "ami-00000000",
        "ami-launch-index": str(data.launch_index),
        "ami-manifest-path": "FIXME",
        "hostname": data.hostname,
        "instance-id": f"i-{_short(guest.server_id)}",
        "local-ipv4": _first_ipv4(guest),
        "reservation-id": f"r-{_short(guest.server_id)}",
        "security-groups": sorted(set(data.security_groups)),
    }
    if data.key_name and data.public_key:
        shown["public-keys"] = {"0": {NAME: f"0={data.key_name}", "openssh-key": data.public_key}}
    if version >= "2007-01-19":
        shown |= {"local-hostname": data.hostname, "public-hostname": data.hostname, "public-ipv4": ""}
    if version >= "2007-12-15":
        shown["block-device-mapping"] = _block_devices(guest)
    if version >= "2008-02-01":
        shown["placement"] = {"availability-zone": data.availability_zone}
    if version >= "2008-09-01":
        shown["instance-action"] = "none"
    return shown


def files(guest: GuestSpec, version: str) -> dict[str, bytes]:
    """The files of `ec2/<version>/` on a config drive."""
    content = tree(guest, version)
    found = {"meta-data.json": msgspec.json.encode(_without_names(content["meta-data"]))}
    if "user-data" in content:
        found["user-data"] = content["user-data"]
    return found


def _without_names(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_names(inner) for key, inner in value.items() if key != NAME}
    return value


def _short(uuid: str) -> str:
    """Eight hexadecimal digits for a UUID: EC2's ids are that short, and only this guest reads them."""
    return hashlib.sha256(uuid.encode()).hexdigest()[:8]


def _first_ipv4(guest: GuestSpec) -> str:
    addresses = (fixed.ip_address for wiring in guest.ports for fixed in wiring.port.fixed_ips)
    return next((address for address in addresses if ":" not in address), "")


def _block_devices(guest: GuestSpec) -> dict[str, str]:
    devices = {"ami": "vda", "root": "/dev/vda"}
    spare = iter(("/dev/vdb", "/dev/vdc"))
    if guest.ephemeral_gib:
        devices["ephemeral0"] = next(spare)
    if guest.swap_mib:
        devices["swap"] = next(spare)
    return devices
