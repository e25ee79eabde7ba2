"""Tags of any noun (api-ref network, Standard attributes tag extension)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pileus.api import Context, Reply, Routes
from pileus.errors import Invalid, NotFound
from pileus.network.attributes import list_of, text
from pileus.network.model import Standard, Tag

if TYPE_CHECKING:
    from pileus.network.resource import Noun

MOST = 50


def replace(row: Standard, tags: list[str]) -> None:
    """Give an object exactly these tags."""
    kept = {tag.tag: tag for tag in row.tag_rows}
    if len(set(tags)) > MOST:
        raise Invalid(f"The number of tags exceeds the limit of {MOST}.")
    if set(kept) != set(tags):
        row.tag_rows = [kept.get(tag) or Tag(resource_id=row.id, tag=tag) for tag in sorted(set(tags))]
        row.touch()


def read_tag(value: Any) -> str:
    """Raises ValueError for what cannot be a tag."""
    tag = str(text(255)(value))
    if not tag or "/" in tag or "," in tag:
        raise ValueError(f"'{value}' must be 1 to 255 characters without ',' and '/'")
    return tag


def checked(reader: Any, value: Any) -> Any:
    try:
        return reader(value)
    except ValueError as error:
        raise Invalid(f"Invalid input for tags. Reason: {error}.") from None


def tag_routes(routes: Routes, noun: Noun) -> None:
    """Add the tag URLs of a noun."""
    from pileus.network.resource import BODY

    path, rule = f"/v2.0/{noun.path}/{{id}}/tags", f"{{verb}}_{noun.plural}_tags"

    def found(ctx: Context, id: str, verb: str) -> Any:
        row = noun.find(ctx, id, lock=verb != "get")
        ctx.require(rule.format(verb=verb), noun.target_of(row))
        return row

    @routes.get(path, policy=rule.format(verb="get"), deferred=True)
    def list_tags(ctx: Context, id: str) -> dict[str, Any]:
        return {"tags": found(ctx, id, "get").tags}

    @routes.put(path, policy=rule.format(verb="update"), deferred=True, body=BODY)
    def replace_tags(ctx: Context, id: str) -> dict[str, Any]:
        row = found(ctx, id, "update")
        if set(ctx.body) != {"tags"}:
            raise Invalid("Invalid tags body: it must have exactly the key 'tags'.")
        replace(row, checked(list_of(read_tag), ctx.body["tags"]))
        ctx.session.flush()
        return {"tags": row.tags}

    @routes.delete(path, policy=rule.format(verb="delete"), deferred=True)
    def delete_tags(ctx: Context, id: str) -> None:
        replace(found(ctx, id, "delete"), [])

    @routes.get(path + "/{tag}", policy=rule.format(verb="get"), deferred=True, status=204)
    def check_tag(ctx: Context, id: str, tag: str) -> None:
        if tag not in found(ctx, id, "get").tags:
            raise NotFound(f"Tag {tag} could not be found.", "TagNotFound")

    @routes.put(path + "/{tag}", policy=rule.format(verb="update"), deferred=True)
    def add_tag(ctx: Context, id: str, tag: str) -> Reply:
        row = found(ctx, id, "update")
        replace(row, [*row.tags, checked(read_tag, tag)])
        return Reply(status=201)

    @routes.delete(path + "/{tag}", policy=rule.format(verb="delete"), deferred=True)
    def delete_tag(ctx: Context, id: str, tag: str) -> None:
        row = found(ctx, id, "delete")
        if tag not in row.tags:
            raise NotFound(f"Tag {tag} could not be found.", "TagNotFound")
        replace(row, [one for one in row.tags if one != tag])
