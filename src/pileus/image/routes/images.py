"""Images and their tags (api-ref image v2, Images, Image tags)."""

from __future__ import annotations

from functools import partial

from pileus.api import Context, Requester, Resource, Schema, Values
from pileus.api.fields import seconds
from pileus.api.tag_urls import tag_urls
from pileus.api.tags import TagRules
from pileus.db import Session
from pileus.db.reading import Load
from pileus.image import images, listing
from pileus.image.attributes import EXTRA, MOST_TAGS, READ_ONLY, WRITABLE, over
from pileus.image.model import Image
from pileus.image.style import STYLE

SHOW, ADMIN = "get_image", "context_is_admin"
CREATE = Schema(
    {
        "type": "object",
        "properties": WRITABLE | dict.fromkeys(READ_ONLY, True),
        "additionalProperties": EXTRA,
        "propertyNames": {"minLength": 1, "maxLength": 255},
    }
)
UPDATE = Schema({"type": "array", "items": {"type": "object"}})
GUARDED = {"public": "publicize_image", "community": "communitize_image"}
"""Visibilities that need a right of their own."""


def view(_ctx: Context, image: Image) -> Values:
    """An image's body: its properties stand beside its attributes."""
    return {
        **image.properties,
        "id": image.id, "name": image.name, "status": image.status, "visibility": image.visibility,
        "owner": image.owner, "protected": image.protected, "os_hidden": image.os_hidden,
        "disk_format": image.disk_format, "container_format": image.container_format,
        "size": image.size, "virtual_size": image.virtual_size,
        "min_ram": image.min_ram, "min_disk": image.min_disk, "checksum": image.checksum,
        "os_hash_algo": image.os_hash_algo, "os_hash_value": image.os_hash_value,
        "created_at": seconds(image.created_at), "updated_at": seconds(image.updated_at), "tags": image.tags,
        "self": f"/v2/images/{image.id}", "file": f"/v2/images/{image.id}/file",
        "schema": "/v2/schemas/image",
    }  # fmt: skip


def target(asks: Requester, image: Image) -> Values:
    """An image in the names that policy rules use; who sees a shared one and is not its owner is a member."""
    member_id = asks.caller.project_id if image.visibility == "shared" else None
    return {"project_id": image.owner, "owner": image.owner, "visibility": image.visibility, "member_id": member_id}


def parent(ctx: Context, values: Values) -> Values:
    """An image to be made is its owner's; the rule says whose one may be that is not the caller's."""
    owner = values.get("owner", ctx.caller.project_id)
    return {"project_id": owner, "owner": owner}


class Images(Resource[Image]):
    """Images, as one who asks stands to them."""

    def about(self, ctx: Context, row: Image | None) -> Values:
        return target(ctx, row) if row is not None else {}


IMAGES = Images(
    Image,
    "image",
    "/v2/images",
    title="image",
    style=STYLE,
    rule="{verb}_image",
    verbs={
        "index": "get_images", "show": SHOW, "create": "add_image", "update": "modify_image",
        "add_tag": "modify_image", "remove_tag": "modify_image",
        "deactivate": "deactivate", "reactivate": "reactivate",
    },
    view=view,
    sees=images.seen,
    parent=parent,
    listed=listing.listed,
    filters=listing.FILTERS,
    others=listing.by_property,
    sortable=listing.SORTABLE,
    loads=[Load(Image.tag_rows)],
)  # fmt: skip
routes = IMAGES.routes
IMAGES.index()
IMAGES.show()
IMAGES.delete()(images.delete)
tag_urls(
    IMAGES,
    TagRules(
        most=MOST_TAGS, forbidden=(), added=204, present=204, readable=False,
        missing="Image {key} has no tag {tag}.", too_many=partial(over, "tags"),
    ),
    asks=(SHOW,),
)  # fmt: skip


def _require_visibility(asks: Requester, image: Image) -> None:
    if rule := GUARDED.get(image.visibility):
        asks.require(rule, target(asks, image))


@IMAGES.create(body=CREATE, asks=tuple(GUARDED.values()))
def create(session: Session, values: Values, asks: Requester) -> Image:
    image = images.create(session, values, asks)
    _require_visibility(asks, image)
    return image


@IMAGES.update(body=UPDATE, asks=(SHOW, ADMIN, *GUARDED.values()))
def update(_session: Session, image: Image, values: Values, asks: Requester) -> None:
    changed = {change.name for change in values["changes"]}
    if "owner" in changed:
        asks.require(ADMIN, target(asks, image))
    images.update(image, values["changes"])
    if "visibility" in changed:
        _require_visibility(asks, image)


@routes.post("/v2/images/{image_id}/actions/deactivate", policy="deactivate", asks=(SHOW,), deferred=True, status=204)
def deactivate(ctx: Context, image_id: str) -> None:
    images.set_active(IMAGES.find(ctx, image_id, "deactivate", lock=True), False)


@routes.post("/v2/images/{image_id}/actions/reactivate", policy="reactivate", asks=(SHOW,), deferred=True, status=204)
def reactivate(ctx: Context, image_id: str) -> None:
    images.set_active(IMAGES.find(ctx, image_id, "reactivate", lock=True), True)
