"""Bodies and queries of the servers routes at each microversion (api-ref compute, Servers)."""

from __future__ import annotations

from typing import Any

from pileus.api import Schema, changed, since, until
from pileus.api.schema import ANY_PARAM, BOOLEAN, BOOLEAN_PARAM, DIGITS, NAME, UUID, integer, nullable, obj
from pileus.compute.parameters import PRINTABLE_NAME

HOST = {"type": "string", "minLength": 1, "maxLength": 255, "pattern": r"^[a-zA-Z0-9\-._]*$"}
TEXT_255 = {"type": "string", "maxLength": 255}
DESCRIPTION = nullable({"type": "string", "maxLength": 255})
METADATA = {
    "type": "object",
    "propertyNames": {"pattern": r"^[a-zA-Z0-9-_:. ]{1,255}$"},
    "additionalProperties": {"type": "string", "maxLength": 255},
}
IPV4 = {"anyOf": [{"type": "string", "format": "ipv4"}, {"const": ""}]}
IPV6 = {"anyOf": [{"type": "string", "format": "ipv6"}, {"const": ""}]}
HOSTNAME = {
    "type": "string",
    "minLength": 2,
    "maxLength": 63,
    "pattern": r"^[a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?$",
}
FQDN = {
    "type": "string",
    "minLength": 2,
    "maxLength": 255,
    "pattern": r"^[a-zA-Z0-9]([a-zA-Z0-9.-]*[a-zA-Z0-9])?$",
}
TAG: dict[str, Any] = {"type": "string", "minLength": 1, "maxLength": 60, "pattern": "^[^,/]*$"}
DISK_CONFIG = {"enum": ["AUTO", "MANUAL"]}
NETWORK = obj(
    uuid=UUID,
    port=nullable(UUID),
    fixed_ip={"type": "string", "anyOf": [{"format": "ipv4"}, {"format": "ipv6"}]},
    tag=since("2.32", TAG),
)
NETWORK_LIST = {"type": "array", "items": NETWORK}
NETWORKS = changed(NETWORK_LIST, v2_37={"anyOf": [NETWORK_LIST, {"enum": ["auto", "none"]}]})
BLOCK_DEVICE = obj(
    uuid=TEXT_255,
    boot_index=nullable(integer()),
    source_type={"enum": ["volume", "image", "snapshot", "blank"]},
    destination_type={"enum": ["local", "volume"]},
    delete_on_termination=BOOLEAN,
    volume_size=integer(0),
    device_name=TEXT_255,
    guest_format=TEXT_255,
    no_device={"type": "object"},
    disk_bus=TEXT_255,
    device_type=TEXT_255,
    tag=since("2.32", TAG),
    volume_type=since("2.67", nullable(TEXT_255)),
)
_ID_OR_IDS = {"anyOf": [UUID, {"type": "array", "items": UUID}]}
HINTS = {
    "type": "object",
    "properties": {
        "group": UUID,
        "different_host": _ID_OR_IDS,
        "same_host": _ID_OR_IDS,
        "query": {"type": ["string", "object"]},
        "target_cell": TEXT_255,
        "different_cell": {"type": ["string", "array"]},
        "build_near_host_ip": {"type": "string", "format": "ipv4"},
        "cidr": TEXT_255,
    },
    "additionalProperties": True,
}

PERSONALITY = until("2.56", {"type": "array", "maxItems": 0})
USER_DATA = nullable({"type": "string", "maxLength": 65535})
CERTIFICATES = nullable({"type": "array", "items": NAME, "maxItems": 50})

_SERVER: dict[str, Any] = {
    "name": PRINTABLE_NAME,
    "imageRef": {"type": "string", "maxLength": 255},
    "flavorRef": {"anyOf": [{"type": "string", "minLength": 1}, {"type": "integer", "minimum": 0}]},
    "adminPass": {"type": "string"},
    "metadata": METADATA,
    "networks": NETWORKS,
    "OS-DCF:diskConfig": DISK_CONFIG,
    "accessIPv4": IPV4,
    "accessIPv6": IPV6,
    "personality": PERSONALITY,
    "availability_zone": nullable({"type": "string", "minLength": 1, "maxLength": 255}),
    "block_device_mapping_v2": {"type": "array", "items": BLOCK_DEVICE},
    "config_drive": {"anyOf": [BOOLEAN, {"const": ""}, {"type": "null"}]},
    "key_name": NAME,
    "min_count": integer(1),
    "max_count": integer(1),
    "return_reservation_id": BOOLEAN,
    "security_groups": {"type": "array", "items": obj(name=NAME)},
    "user_data": USER_DATA,
    "description": since("2.19", DESCRIPTION),
    "tags": since("2.52", {"type": "array", "items": TAG, "maxItems": 50}),
    "trusted_image_certificates": since("2.63", CERTIFICATES),
    "host": since("2.74", FQDN),
    "hypervisor_hostname": since("2.74", FQDN),
    "hostname": changed(since("2.90", HOSTNAME), v2_94=FQDN),
}
CREATE = Schema(
    {
        "type": "object",
        "required": ["server"],
        "additionalProperties": False,
        "properties": {
            "server": obj(["name", "flavorRef", since("2.37", "networks")], **_SERVER),
            "os:scheduler_hints": HINTS,
            "OS-SCH-HNT:scheduler_hints": HINTS,
        },
    },
    key="server",
)

_CHANGES: dict[str, Any] = {
    "name": PRINTABLE_NAME,
    "OS-DCF:diskConfig": DISK_CONFIG,
    "accessIPv4": IPV4,
    "accessIPv6": IPV6,
    "description": since("2.19", DESCRIPTION),
    "hostname": changed(since("2.90", HOSTNAME), v2_94=FQDN),
    "pinned_availability_zone": since("2.104", nullable(NAME)),
}
UPDATE = Schema.wrapped("server", obj(**_CHANGES))

_FILTERS = (
    "user_id project_id tenant_id launch_index image_ref image kernel_id ramdisk_id hostname key_name power_state "
    "vm_state task_state host node flavor reservation_id launched_at terminated_at availability_zone name display_name "
    "description display_description locked_by uuid root_device_name config_drive access_ip_v4 access_ip_v6 "
    "auto_disk_config progress soft_deleted status changes-since ip ip6 created_at block_device_mapping services "
    "metadata system_metadata info_cache security_groups pci_devices sort_key sort_dir"
)
LIST = Schema.params(
    closed="2.75",
    **(
        dict.fromkeys(_FILTERS.split(), ANY_PARAM)
        | {name: since("2.26", ANY_PARAM) for name in ("tags", "tags-any", "not-tags", "not-tags-any")}
        | {
            "limit": DIGITS,
            "all_tenants": {"anyOf": [BOOLEAN_PARAM, {"const": ""}]},
            "deleted": BOOLEAN_PARAM,
            "marker": {"type": "string"},
            "changes-before": since("2.66", ANY_PARAM),
            "locked": since("2.73", ANY_PARAM),
        }
    ),
)

_ADDRESS = {"anyOf": [{"format": "ipv4"}, {"format": "ipv6"}], "type": "string"}
_ONE: dict[str, Any] = {"type": "array", "minItems": 1, "maxItems": 1}
INTERFACE = Schema(
    {
        "type": "object",
        "required": ["interfaceAttachment"],
        "additionalProperties": False,
        "properties": {
            "interfaceAttachment": obj(
                net_id=UUID,
                port_id=UUID,
                fixed_ips={
                    "type": "array",
                    "minItems": 1,
                    "maxItems": 1,
                    "items": obj(["ip_address"], ip_address=_ADDRESS),
                },
                tag=since("2.49", TAG),
            )
        },
    },
    key="interfaceAttachment",
)
