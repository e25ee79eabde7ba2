"""Images (api-ref image v2, Images)."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from pileus.api import Context, Reply, Routes, Schema, paginate
from pileus.api.fields import seconds
from pileus.api.paging import page_limit, sort_keys
from pileus.errors import Forbidden, Invalid, NotFound, Unsupported
from pileus.image import images, listing, patch
from pileus.image.attributes import EXTRA, READ_ONLY, WRITABLE
from pileus.image.model import Image
from pileus.image.routes.access import find, target

routes = Routes()
DEFAULT_PAGE = 25
DRAFTS = {
    "application/openstack-images-v2.1-json-patch": 10,
    "application/openstack-images-v2.0-json-patch": 4,
}
"""Media type of a patch to the draft of JSON patch it is written in."""

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


def view(image: Image) -> dict[str, Any]:
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


def _check_visibility(ctx: Context, image: Image) -> None:
    if rule := GUARDED.get(image.visibility):
        ctx.require(rule, target(ctx, image))


@routes.post("/v2/images", policy="add_image", deferred=True, body=CREATE, status=201)
def create(ctx: Context) -> Reply:
    owner = ctx.body.get("owner", ctx.caller.project_id)
    if owner != ctx.caller.project_id and not ctx.is_admin:
        raise Forbidden(f"You are not permitted to create images owned by '{owner}'.")
    ctx.require("add_image", {"project_id": ctx.caller.project_id, "owner": owner})
    image = images.create(ctx.session, owner, ctx.body)
    _check_visibility(ctx, image)
    return Reply(view(image), headers={"Location": ctx.url(f"/v2/images/{image.id}")})


@routes.get("/v2/images", policy="get_images")
def index(ctx: Context) -> dict[str, Any]:
    asked = ctx.param("limit")
    limit = page_limit(ctx) if asked is not None else min(DEFAULT_PAGE, page_limit(ctx))
    if "sort" in ctx.query and ("sort_key" in ctx.query or "sort_dir" in ctx.query):
        raise Invalid("Old and new sorting syntax cannot be combined")
    keys = sort_keys(ctx, listing.SORTABLE, [("created_at", "desc")])
    query = listing.matching(ctx.caller.project_id, ctx.is_admin, ctx.query)
    found = list(ctx.session.scalars(paginate(query, keys, _marker(ctx), limit)))
    body = {
        "images": [view(image) for image in found],
        "first": _page(ctx, None),
        "schema": "/v2/schemas/images",
    }
    if found and len(found) == limit:
        body["next"] = _page(ctx, found[-1].id)
    return body


def _marker(ctx: Context) -> Image | None:
    marker = ctx.param("marker")
    if marker is None:
        return None
    try:
        return images.visible(ctx.session, ctx.caller.project_id, ctx.is_admin, marker)
    except NotFound as error:
        raise Invalid(f"Invalid marker: {error.message}") from None


def _page(ctx: Context, marker: str | None) -> str:
    """Path of a page, relative as Glance's are."""
    query = {name: values for name, values in ctx.query.items() if name != "marker"}
    if marker:
        query["marker"] = [marker]
    return "/v2/images" + (f"?{urlencode(query, doseq=True)}" if query else "")


@routes.get("/v2/images/{image_id}", policy="get_image", deferred=True)
def show(ctx: Context, image_id: str) -> dict[str, Any]:
    return view(find(ctx, image_id, "get_image"))


@routes.patch("/v2/images/{image_id}", policy="modify_image", deferred=True, body=UPDATE)
def update(ctx: Context, image_id: str) -> dict[str, Any]:
    media_type = (ctx.request.content_type or "").partition(";")[0].strip()
    if media_type not in DRAFTS:
        raise Unsupported(f"Unsupported Content-Type {media_type}; use {' or '.join(DRAFTS)}.")
    changes = patch.parse(ctx.body, DRAFTS[media_type])
    image = find(ctx, image_id, "modify_image")
    if any(change.name == "owner" for change in changes):
        ctx.require("context_is_admin")
    patch.apply(image, changes)
    if any(change.name == "visibility" for change in changes):
        _check_visibility(ctx, image)
    return view(image)


@routes.delete("/v2/images/{image_id}", policy="delete_image", deferred=True)
def delete(ctx: Context, image_id: str) -> None:
    images.delete(ctx.session, ctx.cloud.settings, find(ctx, image_id, "delete_image"))


@routes.post("/v2/images/{image_id}/actions/deactivate", policy="deactivate", deferred=True, status=204)
def deactivate(ctx: Context, image_id: str) -> None:
    images.set_active(find(ctx, image_id, "deactivate"), False)


@routes.post("/v2/images/{image_id}/actions/reactivate", policy="reactivate", deferred=True, status=204)
def reactivate(ctx: Context, image_id: str) -> None:
    images.set_active(find(ctx, image_id, "reactivate"), True)
