"""The URLs of the tags of a noun: all of them, and each by itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar, Unpack
from urllib.parse import quote

from pileus.api.context import Context
from pileus.api.resource import Resource
from pileus.api.routes import Options, Reply, Routes
from pileus.api.schema import Schema
from pileus.api.tags import TagRules
from pileus.db.tags import Tagged
from pileus.errors import Invalid, NotFound
from pileus.jsontypes import Json, Values

_BODY = Schema({"type": "object", "properties": {"tags": {"type": "array"}}, "required": ["tags"]})

M = TypeVar("M", bound=Tagged)


def tag_urls(noun: Resource[M], rules: TagRules, routes: Routes | None = None, **options: Unpack[Options]) -> None:
    """Add the URLs of a noun's tags.

    Args:
        routes: where they go; to the noun's own unless given.
        options: of every one of the routes, such as `since`.
    """
    all_path, one_path = f"{noun.one}/tags", f"{noun.one}/tags/{{tag}}"
    routes = noun.routes if routes is None else routes

    def found(ctx: Context, path: dict[str, str], verb: str, lock: bool = True) -> Tagged:
        row: Tagged = noun.find(ctx, path[noun.parameter], verb, lock=lock)
        return row

    def all_of(ctx: Context, row: Tagged) -> Values:
        return rules.body(ctx, row.tags) if rules.body else {"tags": row.tags}

    def guard(verb: str, **more: Unpack[Options]) -> Options:
        return {"policy": noun.rule(verb), "deferred": True, **more, **options}

    def index(ctx: Context, **path: str) -> Values:
        return all_of(ctx, found(ctx, path, "index_tags", lock=False))

    def replace(ctx: Context, **path: str) -> Values:
        row = found(ctx, path, "replace_tags")
        _change(ctx, rules, row, ctx.body["tags"])
        return all_of(ctx, row)

    def clear(ctx: Context, **path: str) -> None:
        _change(ctx, rules, found(ctx, path, "clear_tags"), [])

    def check(ctx: Context, tag: str, **path: str) -> None:
        _require(rules, found(ctx, path, "show_tag", lock=False), path[noun.parameter], tag)

    def add(ctx: Context, tag: str, **path: str) -> Reply:
        row = found(ctx, path, "add_tag")
        status = rules.present if tag in row.tags else None
        if status is None:
            _change(ctx, rules, row, [*row.tags, tag])
        located = rules.located and status in (None, 201)
        return Reply(status=status, headers={"Location": f"{ctx.root}{quote(ctx.request.path)}"} if located else None)

    def remove(ctx: Context, tag: str, **path: str) -> None:
        row = found(ctx, path, "remove_tag")
        _require(rules, row, path[noun.parameter], tag)
        _change(ctx, rules, row, [one for one in row.tags if one != tag])

    if rules.readable:
        routes.get(all_path, **guard("index_tags"))(index)
        routes.put(all_path, **guard("replace_tags", body=_BODY))(replace)
        routes.delete(all_path, **guard("clear_tags"))(clear)
        routes.get(one_path, **guard("show_tag", status=204))(check)
        routes.head(one_path, **guard("show_tag", status=204))(check)
    routes.put(one_path, **guard("add_tag", status=rules.added))(add)
    routes.delete(one_path, **guard("remove_tag"))(remove)


def _change(ctx: Context, rules: TagRules, row: Tagged, tags: list[str]) -> None:
    if rules.changeable:
        rules.changeable(row)
    row.tags = check_tags(rules, tags)
    ctx.session.flush()


def check_tags(rules: TagRules, tags: Sequence[Json]) -> list[str]:
    """The tags, if an object may have all of them.

    Raises:
        Invalid: one of them is none, or they are too many.
    """
    checked: list[str] = []
    for tag in tags:
        if not isinstance(tag, str) or not _fits(rules, tag):
            raise Invalid(
                f"Invalid input for tags. Reason: '{str(tag)[:100]}' must be 1 to {rules.longest} characters"
                + (f" without {' and '.join(rules.forbidden)}." if rules.forbidden else ".")
            )
        checked.append(tag)
    if not rules.repeats and len(set(checked)) < len(checked):
        raise Invalid("Invalid input for tags. Reason: one of them is there twice.")
    if len(set(checked)) > rules.most:
        raise rules.too_many(len(set(checked)), rules.most)
    return list(dict.fromkeys(checked))


def _fits(rules: TagRules, tag: str) -> bool:
    return 0 < len(tag) <= rules.longest and tag.isprintable() and not any(sign in tag for sign in rules.forbidden)


def _require(rules: TagRules, row: Tagged, key: str, tag: str) -> None:
    if tag not in row.tags:
        raise NotFound(rules.missing.format(key=key, tag=tag), rules.missing_kind)
