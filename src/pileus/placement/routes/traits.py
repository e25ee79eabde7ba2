"""Traits (api-ref placement, Traits)."""

from __future__ import annotations

from pileus.api import Context, Reply, Routes, Schema
from pileus.errors import Invalid
from pileus.placement import traits
from pileus.placement.style import NO_QUERY, reply

routes = Routes()

LIST = Schema.params(name={"type": "string", "minLength": 1}, associated={"type": "string", "minLength": 1})


def _names(ctx: Context) -> set[str]:
    associated = (ctx.param("associated") or "").lower()
    if associated not in ("", "true", "false"):
        raise Invalid('The query parameter "associated" only accepts "true" or "false"')
    if associated == "":
        return traits.every(ctx.session)
    held = traits.associated(ctx.session)
    return held if associated == "true" else set(traits.standard()) - held


def _narrowed(names: set[str], text: str) -> set[str]:
    verb, colon, value = text.partition(":")
    if colon and verb == "in":
        return names & set(value.split(","))
    if colon and verb == "startswith":
        return {name for name in names if name.startswith(value)}
    if colon:
        return names
    raise Invalid(
        "Badly formatted name parameter. Expected name query string parameter in form: "
        f'?name=[in|startswith]:[name1,name2|prefix]. Got: "{text}"'
    )


@routes.get("/traits", policy="placement:traits:list", query=LIST, since="1.6")
def index(ctx: Context) -> Reply:
    names, text = _names(ctx), ctx.param("name")
    found = names if text is None else _narrowed(names, text)
    return reply(ctx, {"traits": sorted(found)})


@routes.get("/traits/{name}", policy="placement:traits:show", query=NO_QUERY, status=204, since="1.6")
def show(ctx: Context, name: str) -> Reply:
    traits.require(ctx.session, name)
    return reply(ctx, None)
