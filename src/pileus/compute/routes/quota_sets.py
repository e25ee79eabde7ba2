"""Quotas of projects (api-ref compute, Quota sets)."""

from __future__ import annotations

from typing import Any

from pileus.api import Context, Routes, Schema, until
from pileus.api.schema import BOOLEAN, obj
from pileus.api.values import truth
from pileus.compute import projects
from pileus.compute.parameters import ANY, MOST, NO_QUERY_LATE
from pileus.compute.quotas import QUOTAS, usage
from pileus.errors import Invalid

routes = Routes()

INJECTED = ("injected_files", "injected_file_content_bytes", "injected_file_path_bytes")
NETWORK = ("fixed_ips", "floating_ips", "security_groups", "security_group_rules")
"""Shown as unlimited up to 2.35: the network service counts them."""

_LIMIT = {"type": ["integer", "string"], "pattern": "^(-1|[0-9]{1,10})$", "minimum": -1, "maximum": MOST}
_LIMITS: dict[str, Any] = {
    **{name: until("2.56", _LIMIT) if name in INJECTED else _LIMIT for name in QUOTAS.defaults},
    **{name: until("2.35", _LIMIT) for name in NETWORK},
}
UPDATE = Schema.wrapped("quota_set", obj(force=BOOLEAN, **_LIMITS))
QUERY = Schema.params(closed="2.75", user_id=ANY)
_ONE = "/v2.1/os-quota-sets/{project_id}"
_RULE = "os_compute_api:os-quota-sets:"


def _shown(ctx: Context, limits: dict[str, Any], unlimited: Any) -> dict[str, Any]:
    """What of the limits a microversion shows."""
    names = [name for name in limits if name not in INJECTED or not ctx.at_least("2.57")]
    shown = {name: limits[name] for name in names}
    return shown if ctx.at_least("2.36") else shown | dict.fromkeys(NETWORK, unlimited)


def _require(ctx: Context, verb: str, project_id: str) -> None:
    ctx.require(_RULE + verb, {"project_id": project_id})
    projects.require(ctx.session, project_id)


def _refuse_user(ctx: Context) -> None:
    if ctx.param("user_id"):
        raise Invalid("Quotas are kept for projects, not for single users: user_id is not supported here.")


@routes.get(_ONE, policy=_RULE + "show", deferred=True, query=QUERY)
def show(ctx: Context, project_id: str) -> dict[str, Any]:
    _require(ctx, "show", project_id)
    limits = QUOTAS.limits(ctx.session, project_id)
    return {"quota_set": {"id": project_id, **_shown(ctx, limits, -1)}}


@routes.get(_ONE + "/detail", policy=_RULE + "detail", deferred=True, query=QUERY)
def detail(ctx: Context, project_id: str) -> dict[str, Any]:
    _require(ctx, "detail", project_id)
    used = usage(ctx.session, project_id)
    limits = {
        name: {"limit": limit, "in_use": used.get(name, 0), "reserved": 0}
        for name, limit in QUOTAS.limits(ctx.session, project_id).items()
    }
    return {"quota_set": {"id": project_id, **_shown(ctx, limits, {"limit": -1, "in_use": 0, "reserved": 0})}}


@routes.get(_ONE + "/defaults", policy=_RULE + "defaults", deferred=True, query=NO_QUERY_LATE)
def defaults(ctx: Context, project_id: str) -> dict[str, Any]:
    _require(ctx, "defaults", project_id)
    return {"quota_set": {"id": project_id, **_shown(ctx, QUOTAS.defaults, -1)}}


@routes.put(_ONE, policy=_RULE + "update", deferred=True, body=UPDATE, query=QUERY)
def update(ctx: Context, project_id: str, quota_set: dict[str, Any]) -> dict[str, Any]:
    _require(ctx, "update", project_id)
    _refuse_user(ctx)
    wanted = {name: int(value) for name, value in quota_set.items() if name in QUOTAS.defaults}
    QUOTAS.lock(ctx.session, project_id)
    if not truth(quota_set.get("force", False)):
        _refuse_below_usage(usage(ctx.session, project_id), wanted)
    QUOTAS.set(ctx.session, project_id, wanted)
    ctx.session.flush()
    return {"quota_set": _shown(ctx, QUOTAS.limits(ctx.session, project_id), -1)}


def _refuse_below_usage(used: dict[str, int], wanted: dict[str, int]) -> None:
    for name, limit in wanted.items():
        if 0 <= limit < used.get(name, 0):
            raise Invalid(
                f"Quota limit {limit} for {name} must be greater than or equal to already used and reserved "
                f"{used[name]}."
            )


@routes.delete(_ONE, policy=_RULE + "delete", deferred=True, query=QUERY, status=202)
def delete(ctx: Context, project_id: str) -> None:
    ctx.require(_RULE + "delete", {"project_id": project_id})
    _refuse_user(ctx)
    QUOTAS.reset(ctx.session, project_id)
