"""Members: sharing an image with a project (api-ref image v2, Sharing)."""

from __future__ import annotations

from sqlalchemy import ColumnElement

from pileus.api import Context, Resource, Schema, Values
from pileus.api.fields import seconds
from pileus.api.schema import obj
from pileus.db.reading import Load
from pileus.image import images, members
from pileus.image.model import Image, ImageMember
from pileus.image.routes.images import target as of_image
from pileus.image.style import STYLE

_STATUSES = ["pending", "accepted", "rejected"]
CREATE = Schema(obj(["member"], member={"type": "string", "minLength": 1, "maxLength": 255}))
UPDATE = Schema(obj(["status"], closed=False, status={"enum": _STATUSES}))


def view(_ctx: Context, member: ImageMember) -> Values:
    """A member's body."""
    return {
        "member_id": member.member_id, "image_id": member.image_id, "status": member.status,
        "created_at": seconds(member.created_at), "updated_at": seconds(member.updated_at),
        "schema": "/v2/schemas/member",
    }  # fmt: skip


def _image(ctx: Context, image_id: str) -> Image:
    return images.find(ctx.session, ctx, image_id)


def within(ctx: Context, image_id: str) -> list[ColumnElement[bool]]:
    """A member sees itself; the owner and an administrator see all."""
    image = _image(ctx, image_id)
    found = [ImageMember.image_id == image.id]
    if images.seen(ctx) is not None and image.owner != ctx.caller.project_id:
        found.append(ImageMember.member_id == ctx.caller.project_id)
    return found


def target(member: ImageMember) -> Values:
    """A member is judged as the image's owner's, and its own."""
    image = member.image
    return {
        "project_id": image.owner, "owner": image.owner, "visibility": image.visibility,
        "member_id": member.member_id,
    }  # fmt: skip


def parent(ctx: Context, values: Values) -> Values:
    """The list of members, and a new one, are judged as the image, which must be shared."""
    image = _image(ctx, values["image_id"])
    members.check_shared(image)
    return of_image(ctx, image)


MEMBERS = Resource(
    ImageMember,
    "member",
    "/v2/images/{image_id}/members",
    title="image member",
    style=STYLE,
    rule="{verb}_member",
    verbs={"index": "get_members", "show": "get_member", "create": "add_member", "update": "modify_member"},
    key=ImageMember.member_id,
    view=view,
    within=within,
    target=target,
    parent=parent,
    sortable={"created_at": ImageMember.created_at},
    order=[("created_at", "asc")],
    paged=False,
    loads=[Load(ImageMember.image)],
)
MEMBERS.index()
MEMBERS.show()
MEMBERS.create(body=CREATE, status=200)(members.create)
MEMBERS.update(method="PUT", body=UPDATE)(members.update)
MEMBERS.delete()(members.delete)
routes = MEMBERS.routes
