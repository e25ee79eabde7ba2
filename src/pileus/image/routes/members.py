"""Members: sharing an image with a project (api-ref image v2, Sharing)."""

from __future__ import annotations

from typing import Any

from pileus.api import Context, Routes, Schema
from pileus.api.fields import seconds
from pileus.api.schema import obj
from pileus.errors import Forbidden, NotFound
from pileus.image import images, members
from pileus.image.model import Image, ImageMember
from pileus.image.routes.access import find

routes = Routes()

_STATUSES = ["pending", "accepted", "rejected"]
CREATE = Schema(obj(["member"], member={"type": "string", "minLength": 1, "maxLength": 255}))
UPDATE = Schema(obj(["status"], closed=False, status={"enum": _STATUSES}))


def view(member: ImageMember) -> dict[str, Any]:
    """A member's body."""
    return {
        "member_id": member.member_id, "image_id": member.image_id, "status": member.status,
        "created_at": seconds(member.created_at), "updated_at": seconds(member.updated_at),
        "schema": "/v2/schemas/member",
    }  # fmt: skip


def _only(ctx: Context, image: Image) -> str | None:
    """A member sees itself; the owner and the admin see all."""
    return None if ctx.is_admin or image.owner == ctx.caller.project_id else ctx.caller.project_id


@routes.post("/v2/images/{image_id}/members", policy="add_member", deferred=True, body=CREATE)
def create(ctx: Context, image_id: str) -> dict[str, Any]:
    return view(members.add(ctx.session, find(ctx, image_id, "add_member"), ctx.body["member"]))


@routes.get("/v2/images/{image_id}/members", policy="get_members", deferred=True)
def index(ctx: Context, image_id: str) -> dict[str, Any]:
    image = find(ctx, image_id, "get_members")
    found = members.of(ctx.session, image, _only(ctx, image))
    return {"members": [view(member) for member in found], "schema": "/v2/schemas/members"}


@routes.get("/v2/images/{image_id}/members/{member_id}", policy="get_member", deferred=True)
def show(ctx: Context, image_id: str, member_id: str) -> dict[str, Any]:
    image = find(ctx, image_id, "get_member")
    if _only(ctx, image) not in (None, member_id):
        raise NotFound(f"{member_id} not found in the member list of the image {image_id}.")
    return view(members.find(ctx.session, image, member_id))


@routes.put("/v2/images/{image_id}/members/{member_id}", policy="modify_member", deferred=True, body=UPDATE)
def update(ctx: Context, image_id: str, member_id: str) -> dict[str, Any]:
    image = images.visible(ctx.session, ctx.caller.project_id, ctx.is_admin, image_id)
    if _only(ctx, image) not in (None, member_id):
        raise NotFound(f"{member_id} not found in the member list of the image {image_id}.")
    member = members.find(ctx.session, image, member_id)
    if not ctx.allows("modify_member", {"member_id": member_id, "project_id": image.owner}):
        raise Forbidden("Only the member of a shared image may change its status.")
    members.set_status(member, ctx.body["status"])
    return view(member)


@routes.delete("/v2/images/{image_id}/members/{member_id}", policy="delete_member", deferred=True)
def delete(ctx: Context, image_id: str, member_id: str) -> None:
    image = find(ctx, image_id, "delete_member")
    ctx.session.delete(members.find(ctx.session, image, member_id))
