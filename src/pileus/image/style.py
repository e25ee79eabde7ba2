"""How the image API writes its nouns: bare bodies, lists with relative links, JSON patches, 404 for what is unseen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

from pileus.api import Context, Reply, Schema, Style, Values
from pileus.api.paging import Page, page_limit, sort_keys
from pileus.errors import Invalid, NotFound, PileusError, Unsupported
from pileus.image import patch

DEFAULT_PAGE = 25
"""Rows on a page unless the request says how many."""
DRAFTS = {
    "application/openstack-images-v2.1-json-patch": 10,
    "application/openstack-images-v2.0-json-patch": 4,
}
"""Media type of a patch to the draft of JSON patch it is written in."""


class ImageStyle(Style):
    """Glance's."""

    update_method = "PATCH"
    create_status = 201
    hides = True
    bare = True

    def page(self, ctx: Context, noun: Any) -> Page:
        if "sort" in ctx.query and ("sort_key" in ctx.query or "sort_dir" in ctx.query):
            raise Invalid("Old and new sorting syntax cannot be combined")
        keys = sort_keys(ctx, noun.sortable, noun.order, noun.key.key, omitted="desc")
        limit = page_limit(ctx) if "limit" in ctx.query else min(DEFAULT_PAGE, page_limit(ctx))
        return Page(keys, self.marked(ctx, noun), limit)

    def many(self, ctx: Context, noun: Any, views: Sequence[Values], page: Page | None, rows: Sequence[Any]) -> Values:
        body: Values = {noun.plural: list(views), "schema": f"/v2/schemas/{noun.plural}"}
        if page:
            body["first"] = _link(ctx, noun.path)
            if rows and len(rows) == page.limit:
                body["next"] = _link(ctx, noun.path, rows[-1].id)
        return body

    def reply(self, ctx: Context, noun: Any, body: Any, rows: Sequence[Any]) -> Any:
        """What was just made says where it is, if it has a link to itself (api-ref image v2, Create image)."""
        if ctx.request.method != "POST" or "self" not in body:
            return body
        return Reply(body, headers={"Location": ctx.url(body["self"])})

    def values(self, ctx: Context, noun: Any, schema: Schema | None) -> Values:
        """The body's; those of a patch are its changes, in order, under "changes"."""
        if ctx.request.method != "PATCH":
            return super().values(ctx, noun, schema)
        media_type = (ctx.request.content_type or "").partition(";")[0].strip()
        if media_type not in DRAFTS:
            raise Unsupported(f"Unsupported Content-Type {media_type}; use {' or '.join(DRAFTS)}.")
        return {"changes": patch.parse(ctx.body, DRAFTS[media_type])}

    def missing(self, noun: Any, key: str) -> PileusError:
        return NotFound(f"No {noun.title} found with ID {key}")

    def bad_marker(self, marker: str) -> PileusError:
        return Invalid(f"Invalid marker: nothing found with ID {marker}")

    def bad_filter(self, name: str, reason: str) -> PileusError:
        return Invalid(f"Invalid value for {name}: {reason}.")


STYLE = ImageStyle()


def _link(ctx: Context, path: str, marker: str | None = None) -> str:
    """Where a page is, relative as Glance's links are."""
    query = {name: values for name, values in ctx.query.items() if name != "marker"}
    if marker:
        query["marker"] = [marker]
    return path + (f"?{urlencode(query, doseq=True)}" if query else "")
