"""Allocation candidates (api-ref placement, Allocation candidates)."""

from __future__ import annotations

import re

from pileus.api import Context, Reply, Routes, Schema, Values, changed, since
from pileus.api.schema import ANY_PARAM, UUID_PATTERN
from pileus.errors import Invalid
from pileus.placement import candidates, requests
from pileus.placement.candidates import Candidate
from pileus.placement.requests import Group
from pileus.placement.routes.resource_providers import in_aggregate, required
from pileus.placement.style import reply

routes = Routes()

_TEXT = {"type": "string"}
_NUMBERED, _NAMED = "([1-9][0-9]*)?", "([a-zA-Z0-9_-]{1,64})?"


def _grouped(suffix: str, in_tree: bool) -> Values:
    names = ("resources", "required", "member_of", *(["in_tree"] if in_tree else []))
    return {f"^{name}{suffix}$": ANY_PARAM for name in names}


LIST = Schema(
    {
        "type": "object",
        "properties": {
            "resources": _TEXT,
            "limit": since("1.16", {"type": "string", "pattern": "^[1-9][0-9]{0,17}$"}),
            "required": since("1.17", ANY_PARAM),
            "member_of": since("1.21", ANY_PARAM),
            "group_policy": since("1.25", {"enum": ["none", "isolate"]}),
            "root_required": since("1.35", _TEXT),
            "same_subtree": since("1.36", ANY_PARAM),
        },
        "patternProperties": changed(
            {},
            v1_25=_grouped(_NUMBERED, in_tree=False),
            v1_31=_grouped(_NUMBERED, in_tree=True),
            v1_33=_grouped(_NAMED, in_tree=True),
        ),
        "required": changed(["resources"], v1_25=[]),
        "additionalProperties": False,
    }
)
_PARAMETER = re.compile(r"(resources|required|member_of|in_tree)([a-zA-Z0-9_-]*)")


def _groups(ctx: Context) -> dict[str, Group]:
    suffixes = [match[2] for name in ctx.query if (match := _PARAMETER.fullmatch(name))]
    return {suffix: _group(ctx, suffix) for suffix in dict.fromkeys(suffixes)}


def _group(ctx: Context, suffix: str) -> Group:
    text, in_tree = ctx.param(f"resources{suffix}"), ctx.param(f"in_tree{suffix}")
    if text is None and not (suffix and ctx.at_least("1.36")):
        raise Invalid(f"All traits must be associated with resources: there is no resources{suffix}.")
    if in_tree is not None and not re.match(UUID_PATTERN, in_tree):
        raise Invalid(f"Expected 'in_tree' parameter to be a format of uuid. Got: {in_tree}")
    return Group(
        resources=requests.resources(text) if text is not None else {},
        traits=required(ctx, ctx.query.get(f"required{suffix}", [])),
        in_tree=in_tree,
        in_aggregate=in_aggregate(ctx, ctx.query.get(f"member_of{suffix}", [])),
    )


def _request(ctx: Context, one: Candidate, groups: dict[str, Group]) -> Values:
    """What a client would send to claim this candidate."""
    if not ctx.at_least("1.12"):
        return {"allocations": [{"resource_provider": {"uuid": one.provider.id}, "resources": one.resources}]}
    shown: Values = {"allocations": {one.provider.id: {"resources": one.resources}}}
    if ctx.at_least("1.34"):
        shown["mappings"] = {suffix: [one.provider.id] for suffix in groups}
    return shown


def _summary(ctx: Context, one: Candidate) -> Values:
    rows = one.inventories if ctx.at_least("1.27") else {name: one.inventories[name] for name in one.resources}
    shown: Values = {
        "resources": {
            name: {"capacity": candidates.capacity(row), "used": one.used.get(name, 0)} for name, row in rows.items()
        }
    }
    if ctx.at_least("1.17"):
        shown["traits"] = one.traits
    if ctx.at_least("1.29"):
        shown |= {"parent_provider_uuid": None, "root_provider_uuid": one.provider.id}
    return shown


@routes.get("/allocation_candidates", policy="placement:allocation_candidates:list", query=LIST, since="1.10")
def index(ctx: Context) -> Reply:
    groups, policy, limit = _groups(ctx), ctx.param("group_policy"), ctx.param("limit")
    candidates.require_groups(groups, policy)
    found = candidates.find(
        ctx.session,
        groups,
        required(ctx, ctx.query.get("root_required", [])),
        isolate=policy == "isolate",
        limit=int(limit) if limit else None,
    )
    body = {
        "allocation_requests": [_request(ctx, one, groups) for one in found],
        "provider_summaries": {one.provider.id: _summary(ctx, one) for one in found},
    }
    return reply(ctx, body)
