"""Image data (api-ref image v2, Image data): bytes in, bytes out, never whole in memory."""

from __future__ import annotations

from typing import Any

import falcon

from pileus.api import Context, Reply, Routes
from pileus.api.bodies import announced, byte_count
from pileus.errors import Forbidden, Invalid, Unsupported
from pileus.image import store, uploads
from pileus.image.model import Image
from pileus.image.routes.images import ADMIN, IMAGES, SHOW

routes = Routes()
BINARY = "application/octet-stream"
SIZE = "X-OpenStack-Image-Size"


@routes.put(
    "/v2/images/{image_id}/file",
    policy="upload_image",
    asks=(SHOW,),
    deferred=True,
    raw=True,
    transaction=None,
    status=204,
)
def upload(ctx: Context, image_id: str) -> None:
    if (ctx.request.content_type or "").partition(";")[0].strip() != BINARY:
        raise Unsupported(f"Unsupported Content-Type {ctx.request.content_type}; use {BINARY}.")
    db, settings, (source, length) = ctx.cloud.db, ctx.cloud.settings, _body(ctx.request)
    with db.write() as session:
        ctx.session = session
        image = IMAGES.find(ctx, image_id, "upload", lock=True)
        uploads.begin(session, settings, image, length)
    uploads.take(db, settings, image, source, length)


def _body(request: falcon.Request) -> tuple[store.Source, int | None]:
    """The body, and how many bytes the client announced.

    A server that shows a chunked body that broke off as one that ended is told apart by X-OpenStack-Image-Size.
    """
    told = request.get_header(SIZE)
    size, length = None if told is None else byte_count(SIZE, told), announced(request)
    if length is None:
        return request.stream, size
    if size not in (None, length):
        raise Invalid(f"{SIZE} is {size}, but Content-Length is {length}.")
    return request.bounded_stream, length


@routes.get("/v2/images/{image_id}/file", policy="download_image", asks=(SHOW, ADMIN), deferred=True)
def download(ctx: Context, image_id: str) -> Reply:
    image = IMAGES.find(ctx, image_id, "download")
    if image.status == "deactivated" and not ctx.allows(ADMIN):
        raise Forbidden("The requested image has been deactivated. Image data download is forbidden.")
    if image.size is None:
        return Reply(status=204)
    headers: dict[str, Any] = {"Content-Type": BINARY, "Accept-Ranges": "bytes"}
    first, length = _range(ctx.request, image)
    if length < 0:
        return Reply(status=416, headers={"Content-Range": f"bytes */{image.size}"})
    if length == image.size:
        headers["Content-MD5"] = image.checksum
    else:
        headers["Content-Range"] = f"bytes {first}-{first + length - 1}/{image.size}"
    headers["Content-Length"] = str(length)
    pieces = store.read(ctx.cloud.settings.images, image.id, first, length)
    return Reply(status=200 if length == image.size else 206, headers=headers, stream=pieces)


def _range(request: falcon.Request, image: Image) -> tuple[int, int]:
    """First byte and number of bytes a request asks for; a negative number if there are none such."""
    size = image.size or 0
    try:
        wanted = request.range if request.range_unit in (None, "bytes") else None
    except falcon.HTTPInvalidHeader as error:
        raise Invalid(f"Invalid Range header: {error.description}") from None
    if wanted is None:
        return 0, size
    first, last = wanted
    if first < 0:
        return max(0, size + first), min(size, -first)
    end = size if last < 0 else min(last + 1, size)
    return first, end - first if first < end else -1
