"""How a request finds the image it is about."""

from __future__ import annotations

from typing import Any

from pileus.api import Context
from pileus.image import images
from pileus.image.model import Image


def target(ctx: Context, image: Image) -> dict[str, Any]:
    """The image in the names that policy rules use."""
    return {
        "project_id": image.owner,
        "owner": image.owner,
        "visibility": image.visibility,
        "member_id": None,
    }


def find(ctx: Context, image_id: str, rule: str) -> Image:
    """The image, if the caller may see it and do what `rule` guards.

    Raises:
        NotFound, Forbidden.
    """
    image = images.visible(ctx.session, ctx.caller.project_id, ctx.is_admin, image_id)
    about = target(ctx, image)
    if image.visibility == "shared":
        about["member_id"] = ctx.caller.project_id  # `visible` found it: it is a member, or owns the image
    ctx.require(rule, about)
    return image
