"""The OpenStack formats of instance data (nova user guide, "Metadata"), one function a file."""

from __future__ import annotations

import base64
import binascii
import os
from typing import Any

import msgspec

from pileus.agent.commands import GuestSpec
from pileus.agent.metadata.network import network_data

VERSIONS = (
    "2012-08-10",
    "2013-04-04",
    "2013-10-17",
    "2015-10-15",
    "2016-06-30",
    "2016-10-06",
    "2017-02-22",
    "2018-08-27",
    "2020-10-14",
    "2025-04-04",
)
LATEST = "latest"

_SEED_SINCE = "2013-04-04"
_VENDOR_DATA_SINCE = "2013-10-17"
_PROJECT_SINCE = _NETWORK_DATA_SINCE = "2015-10-15"
_DEVICES_SINCE = "2016-06-30"
_VENDOR_DATA2_SINCE = "2016-10-06"
_DEDICATED_CPUS_SINCE = "2020-10-14"
_SEED_BYTES = 512


def files(guest: GuestSpec, version: str, with_password: bool = False) -> dict[str, bytes]:
    """The files of `openstack/<version>/` by name.

    Args:
        version: one of VERSIONS, or `latest`.
        with_password: include the administrator's password, which only the config drive may carry.
    """
    version = VERSIONS[-1] if version == LATEST else version
    found = {"meta_data.json": _json(meta_data(guest, version, with_password))}
    script = user_data(guest)
    if script is not None:
        found["user_data"] = script
    if version >= _VENDOR_DATA_SINCE:
        found["vendor_data.json"] = _json({})
    if version >= _NETWORK_DATA_SINCE:
        found["network_data.json"] = _json(network_data(guest.ports))
    if version >= _VENDOR_DATA2_SINCE:
        found["vendor_data2.json"] = _json({"static": {}})
    return found


def meta_data(guest: GuestSpec, version: str, with_password: bool = False) -> dict[str, Any]:
    """meta_data.json as `version` shows it."""
    data = guest.data
    shown: dict[str, Any] = {
        "uuid": guest.server_id,
        "hostname": data.hostname,
        "name": data.name,
        "launch_index": data.launch_index,
        "availability_zone": data.availability_zone,
    }
    if data.metadata:
        shown["meta"] = data.metadata
    if data.key_name and data.public_key:
        shown["public_keys"] = {data.key_name: data.public_key}
        shown["keys"] = [{"name": data.key_name, "type": data.key_type, "data": data.public_key}]
    if with_password and data.admin_pass:
        shown["admin_pass"] = data.admin_pass
    if version >= _SEED_SINCE:
        # Drawn at each reading: nobody else has it, neither a journal nor who knows the guest's id.
        shown["random_seed"] = base64.b64encode(os.urandom(_SEED_BYTES)).decode()
    if version >= _PROJECT_SINCE:
        shown["project_id"] = data.project_id
    if version >= _DEVICES_SINCE:
        shown["devices"] = []  # tagged devices; there are no tags yet
    if version >= _DEDICATED_CPUS_SINCE:
        shown["dedicated_cpus"] = []
    return shown


def user_data(guest: GuestSpec) -> bytes | None:
    """The user data, decoded; None without any."""
    if guest.data.user_data is None:
        return None
    try:
        return base64.b64decode(guest.data.user_data)
    except binascii.Error:
        return guest.data.user_data.encode()


def _json(value: dict[str, Any]) -> bytes:
    return msgspec.json.encode(value)
