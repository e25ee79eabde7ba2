"""The attributes of an image: their schemas, and who may set them (api-ref image v2, Show image schema)."""

from __future__ import annotations

from pileus.api import Schema, Values
from pileus.errors import Forbidden, TooLarge
from pileus.jsontypes import Json

ID_PATTERN = "^([0-9a-fA-F]){8}-([0-9a-fA-F]){4}-([0-9a-fA-F]){4}-([0-9a-fA-F]){4}-([0-9a-fA-F]){12}$"
CONTAINER_FORMATS = ["ami", "ari", "aki", "bare", "ovf", "ova", "docker", "compressed"]
DISK_FORMATS = ["ami", "ari", "aki", "vhd", "vhdx", "vmdk", "raw", "qcow2", "vdi", "iso", "ploop", "gpt"]
VISIBILITIES = ["community", "public", "private", "shared"]
MOST_PROPERTIES = MOST_TAGS = MOST_MEMBERS = 128
"""How many of each an image may have (Glance's image_property_quota and its like)."""

MOST_PROPERTY_CHARACTERS = 16 * 1024
"""Of all properties of an image, names and values: a list shows up to 1,000 images, and is made in memory."""


def _text(description: str, length: int = 255, **more: Json) -> Values:
    return {"type": ["null", "string"], "maxLength": length, "description": description, **more}


def _choice(description: str, values: list[str]) -> Values:
    return {"type": ["null", "string"], "enum": [None, *values], "description": description}


def _count(description: str) -> Values:
    return {"type": "integer", "minimum": 0, "maximum": 2**31 - 1, "description": description}


def _flag(description: str) -> Values:
    return {"type": "boolean", "description": description}


WRITABLE: dict[str, Values] = {
    "id": {"type": "string", "pattern": ID_PATTERN, "description": "An identifier for the image"},
    "name": _text("Descriptive name for the image"),
    "visibility": {"type": "string", "enum": VISIBILITIES, "description": "Scope of image accessibility"},
    "protected": _flag("If true, image will not be deletable."),
    "os_hidden": _flag("If true, image will not appear in default image list response."),
    "owner": _text("Owner of the image"),
    "container_format": _choice("Format of the container", CONTAINER_FORMATS),
    "disk_format": _choice("Format of the disk", DISK_FORMATS),
    "min_ram": _count("Amount of ram (in MB) required to boot image."),
    "min_disk": _count("Amount of disk space (in GB) required to boot image."),
    "tags": {
        "type": "array",
        "items": {"type": "string", "maxLength": 255, "minLength": 1},
        "description": "List of strings related to the image",
    },
}
"""What a client may set."""

READ_ONLY: dict[str, Values] = {
    "status": {
        "type": "string",
        "enum": ["queued", "saving", "active", "deactivated"],
        "description": "Status of the image",
    },
    "checksum": _text("md5 hash of image contents.", 32),
    "os_hash_algo": _text("Algorithm to calculate the os_hash_value", 64),
    "os_hash_value": _text("Hexdigest of the image contents, by os_hash_algo", 128),
    "size": {"type": ["null", "integer"], "description": "Size of image file in bytes"},
    "virtual_size": {"type": ["null", "integer"], "description": "Virtual size of image in bytes"},
    "created_at": {"type": "string", "description": "Date and time of image registration"},
    "updated_at": {"type": "string", "description": "Date and time of the last image modification"},
    "self": {"type": "string", "description": "An image self url"},
    "file": {"type": "string", "description": "An image file url"},
    "schema": {"type": "string", "description": "An image schema url"},
}
"""What only the service sets."""

RESERVED = frozenset(
    {"direct_url", "locations", "stores", "deleted", "deleted_at", "is_public", "location", "properties"}
)
"""Names that mean something in Glance and are not served: they are not free for a user's own property."""

RESERVED_PREFIX = "os_glance_"
"""Properties that only Glance itself sets begin so."""

EXTRA: Values = {"type": "string", "maxLength": 65535}
"""A user's own property."""

PROPERTIES: dict[str, Values] = WRITABLE | {name: {**spec, "readOnly": True} for name, spec in READ_ONLY.items()}
"""All of them, as the published schema has them."""

QUEUED_ONLY = frozenset({"disk_format", "container_format"})
"""What may change only before there is data."""

_VALUES = {name: Schema({"type": "object", "properties": {name: spec}}) for name, spec in WRITABLE.items()}
_OWN = Schema({"type": "object", "additionalProperties": EXTRA})


def check_value(name: str, value: Json) -> None:
    """Raises Invalid unless `value` may be the attribute's or the property's."""
    (_VALUES.get(name) or _OWN).check({name: value})


def check_writable(name: str) -> None:
    """Raises Forbidden if clients may not set the attribute."""
    if name in READ_ONLY:
        raise Forbidden(f"Attribute '{name}' is read-only.")
    if name in RESERVED or name.startswith(RESERVED_PREFIX):
        raise Forbidden(f"Attribute '{name}' is reserved.")


def check_property(name: str) -> None:
    """Raises Forbidden if it is no property of a user's own, but an attribute."""
    check_writable(name)
    if name in WRITABLE:
        raise Forbidden(f"Attribute '{name}' is no property.")


def check_count(what: str, count: int, most: int) -> None:
    """Raises TooLarge over `most`."""
    if count > most:
        raise over(what, count, most)


def over(what: str, count: int, most: int) -> TooLarge:
    """What is said of more than an image may have of something."""
    return TooLarge(
        f"The limit has been exceeded on the number of allowed image {what}. Attempted: {count}, Maximum: {most}"
    )
