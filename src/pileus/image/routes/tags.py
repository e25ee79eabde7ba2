"""Tags of an image (api-ref image v2, Image tags)."""

from __future__ import annotations

from pileus.api import Context, Routes
from pileus.errors import Invalid, NotFound
from pileus.image import images
from pileus.image.routes.access import find

routes = Routes()


@routes.put("/v2/images/{image_id}/tags/{tag}", policy="modify_image", deferred=True, status=204)
def add(ctx: Context, image_id: str, tag: str) -> None:
    if len(tag) > 255:
        raise Invalid("Invalid tag: it is longer than 255 characters.")
    image = find(ctx, image_id, "modify_image")
    image.tags = [*image.tags, tag]
    images.check_counts(image)
    images.touch(image)


@routes.delete("/v2/images/{image_id}/tags/{tag}", policy="modify_image", deferred=True)
def remove(ctx: Context, image_id: str, tag: str) -> None:
    image = find(ctx, image_id, "modify_image")
    if tag not in image.tags:
        raise NotFound(f"Image {image_id} has no tag {tag}.")
    image.tags = [other for other in image.tags if other != tag]
    images.touch(image)
