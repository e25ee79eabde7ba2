"""Schemas (api-ref image v2, Image Schemas): by them clients tell attributes from properties."""

from __future__ import annotations

from pileus.api import Context, Routes, Values
from pileus.errors import NotFound
from pileus.image.attributes import EXTRA, ID_PATTERN, PROPERTIES

routes = Routes()

_TEXT = {"type": "string"}
IMAGE: Values = {
    "name": "image",
    "properties": PROPERTIES,
    "additionalProperties": {"type": EXTRA["type"]},
    "links": [
        {"href": "{self}", "rel": "self"},
        {"href": "{file}", "rel": "enclosure"},
        {"href": "{schema}", "rel": "describedby"},
    ],
}
MEMBER: Values = {
    "name": "member",
    "properties": {
        "member_id": {**_TEXT, "description": "An identifier for the image member (tenantId)"},
        "image_id": {**_TEXT, "pattern": ID_PATTERN, "description": "An identifier for the image"},
        "created_at": {**_TEXT, "description": "Date and time of image member creation"},
        "updated_at": {**_TEXT, "description": "Date and time of last modification of image member"},
        "status": {
            **_TEXT,
            "enum": ["pending", "accepted", "rejected"],
            "description": "The status of this image member",
        },
        "schema": {**_TEXT, "readOnly": True},
    },
}


def _list_of(schema: Values, plural: str, paged: bool) -> Values:
    pages = ("first", "next") if paged else ()
    links = [{"href": f"{{{page}}}", "rel": page} for page in pages]
    return {
        "name": plural,
        "properties": {
            plural: {"type": "array", "items": schema},
            **dict.fromkeys((*pages, "schema"), _TEXT),
        },
        "links": [*links, {"href": "{schema}", "rel": "describedby"}],
    }


SCHEMAS = {
    "image": IMAGE,
    "images": _list_of(IMAGE, "images", paged=True),
    "member": MEMBER,
    "members": _list_of(MEMBER, "members", paged=False),
}


@routes.get("/v2/schemas/{name}", policy="default", transaction=None)
def show(ctx: Context, name: str) -> Values:
    if name not in SCHEMAS:
        raise NotFound(f"There is no schema {name}.")
    return SCHEMAS[name]
