"""Quotas (api-ref network, Quotas extension and Quota details extension)."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select

from pileus.api import Context, Routes
from pileus.api.quota import QuotaRow
from pileus.errors import Invalid
from pileus.network import quotas
from pileus.network.attributes import Attribute, integer, read_values
from pileus.network.quotas import QUOTAS
from pileus.network.style import BODY

routes = Routes()
ATTRIBUTES = {name: Attribute(read=integer(-1, 2**31 - 1)) for name in QUOTAS.defaults}


def _of(project_id: str) -> dict[str, str]:
    return {"project_id": project_id, "tenant_id": project_id}


@routes.get("/v2.0/quotas", policy="list_quota")
def index(ctx: Context) -> dict[str, Any]:
    query = select(QuotaRow.project_id).where(QuotaRow.service == QUOTAS.service).distinct()
    projects = sorted(ctx.session.scalars(query))
    return {"quotas": [QUOTAS.limits(ctx.session, project) | _of(project) for project in projects]}


@routes.get("/v2.0/quotas/tenant", policy="regular_user", transaction=None)
def tenant(ctx: Context) -> dict[str, Any]:
    return {"tenant": _of(ctx.project_id)}


@routes.get("/v2.0/quotas/project", policy="regular_user", transaction=None)
def project(ctx: Context) -> dict[str, Any]:
    return {"project": _of(ctx.project_id)}


@routes.get("/v2.0/quotas/{project_id}", policy="get_quota", deferred=True)
def show(ctx: Context, project_id: str) -> dict[str, Any]:
    ctx.require("get_quota", _of(project_id))
    return {"quota": QUOTAS.limits(ctx.session, project_id)}


@routes.get("/v2.0/quotas/{project_id}/default", policy="get_quota", deferred=True)
def show_default(ctx: Context, project_id: str) -> dict[str, Any]:
    ctx.require("get_quota", _of(project_id))
    return {"quota": dict(QUOTAS.defaults)}


@routes.get("/v2.0/quotas/{project_id}/details", policy="get_quota", deferred=True)
def show_details(ctx: Context, project_id: str) -> dict[str, Any]:
    ctx.require("get_quota", _of(project_id))
    limits = QUOTAS.limits(ctx.session, project_id)
    return {
        "quota": {
            name: {"limit": limit, "used": quotas.used(ctx.session, project_id, name), "reserved": 0}
            for name, limit in limits.items()
        }
    }


@routes.put("/v2.0/quotas/{project_id}", policy="update_quota", body=BODY)
def update(ctx: Context, project_id: str) -> dict[str, Any]:
    if "quota" not in ctx.body:
        raise Invalid("Unable to find 'quota' in request body")
    body = ctx.body["quota"]
    if isinstance(body, dict):
        body = {name: value for name, value in body.items() if name not in ("project_id", "tenant_id")}
    QUOTAS.set(ctx.session, project_id, read_values(ATTRIBUTES, body, creating=False))
    ctx.session.flush()
    return {"quota": QUOTAS.limits(ctx.session, project_id)}


@routes.delete("/v2.0/quotas/{project_id}", policy="delete_quota")
def delete(ctx: Context, project_id: str) -> None:
    QUOTAS.reset(ctx.session, project_id)
