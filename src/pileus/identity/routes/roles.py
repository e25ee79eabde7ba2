"""Roles and implied roles (api-ref identity v3, Roles)."""

from __future__ import annotations

from itertools import groupby
from typing import Any

from pileus.api import Context, Routes, Schema
from pileus.api.schema import NAME, obj
from pileus.identity import roles, rows
from pileus.identity.model import Role
from pileus.identity.routes.collection import Collection, listed

routes = Routes()

_TEXT = {"type": ["string", "null"]}
_FIELDS: dict[str, Any] = {
    "name": NAME,
    "description": _TEXT,
    "domain_id": _TEXT,
    "options": {"type": "object"},
}
CREATE = Schema.wrapped("role", obj(["name"], closed=False, **_FIELDS))
UPDATE = Schema.wrapped("role", obj(closed=False, **_FIELDS))


def _view(role: Role) -> dict[str, Any]:
    return {
        "id": role.id, "name": role.name, "domain_id": role.domain_id, "description": role.description,
        "options": {},
    }  # fmt: skip


ROLES = Collection(Role, _view, ("id", "name", "domain_id"))


def _find(ctx: Context, role_id: str, verb: str) -> Role:
    """A role; a domain's own has rules of its own."""
    row = ctx.session.get(Role, role_id)
    kind = "domain_role" if row is not None and row.domain_id else "role"
    return ROLES.find(ctx, role_id, f"identity:{verb}_{kind}")


@routes.post("/v3/roles", policy="identity:create_role", deferred=True, body=CREATE, status=201)
def create(ctx: Context, role: dict[str, Any]) -> dict[str, Any]:
    domain_id = role.get("domain_id")
    rule = "identity:create_domain_role" if domain_id else "identity:create_role"
    ctx.require(rule, {"target.role.domain_id": domain_id})
    return ROLES.one(ctx, roles.create(ctx.session, role))


@routes.get("/v3/roles", policy="identity:list_roles", deferred=True)
def index(ctx: Context) -> dict[str, Any]:
    if ctx.param("domain_id"):
        return ROLES.index(ctx, "identity:list_domain_roles")
    ctx.require("identity:list_roles")
    ctx.query.pop("domain_id", None)
    query = ROLES.filtered(ctx).where(Role.domain_id.is_(None))
    return ROLES.many(ctx, ctx.session.scalars(query))


@routes.get("/v3/roles/{role_id}", policy="identity:get_role", deferred=True)
def show(ctx: Context, role_id: str) -> dict[str, Any]:
    return ROLES.one(ctx, _find(ctx, role_id, "get"))


@routes.patch("/v3/roles/{role_id}", policy="identity:update_role", deferred=True, body=UPDATE)
def update(ctx: Context, role_id: str, role: dict[str, Any]) -> dict[str, Any]:
    return ROLES.one(ctx, roles.update(ctx.session, _find(ctx, role_id, "update"), role))


@routes.delete("/v3/roles/{role_id}", policy="identity:delete_role", deferred=True)
def delete(ctx: Context, role_id: str) -> None:
    ctx.session.delete(_find(ctx, role_id, "delete"))


# --- implied roles ------------------------------------------------------------------------------------------

_IMPLIES = "/v3/roles/{role_id}/implies"


def _brief(ctx: Context, role: Role) -> dict[str, Any]:
    return {"id": role.id, "name": role.name, "links": {"self": ctx.url(f"/v3/roles/{role.id}")}}


def _pair(ctx: Context, role_id: str, implied_role_id: str) -> tuple[Role, Role]:
    return rows.find(ctx.session, Role, role_id), rows.find(ctx.session, Role, implied_role_id)


def _inference(ctx: Context, prior: Role, implied: Role) -> dict[str, Any]:
    body = {"prior_role": _brief(ctx, prior), "implies": _brief(ctx, implied)}
    return {"role_inference": body, "links": {"self": f"{ctx.root}{ctx.request.path}"}}


@routes.get(_IMPLIES, policy="identity:list_implied_roles")
def index_implied(ctx: Context, role_id: str) -> dict[str, Any]:
    prior = rows.find(ctx.session, Role, role_id)
    implied = [_brief(ctx, role) for _, role in roles.implications(ctx.session, prior)]
    return {
        "role_inference": {"prior_role": _brief(ctx, prior), "implies": implied},
        "links": {"self": f"{ctx.root}{ctx.request.path}"},
    }


@routes.put(_IMPLIES + "/{implied_role_id}", policy="identity:create_implied_role", status=201)
def imply(ctx: Context, role_id: str, implied_role_id: str) -> dict[str, Any]:
    prior, implied = _pair(ctx, role_id, implied_role_id)
    roles.imply(ctx.session, prior, implied)
    return _inference(ctx, prior, implied)


@routes.get(_IMPLIES + "/{implied_role_id}", policy="identity:get_implied_role")
def show_implied(ctx: Context, role_id: str, implied_role_id: str) -> dict[str, Any]:
    prior, implied = _pair(ctx, role_id, implied_role_id)
    roles.implication(ctx.session, prior, implied)
    return _inference(ctx, prior, implied)


@routes.head(_IMPLIES + "/{implied_role_id}", policy="identity:check_implied_role", status=204)
def check_implied(ctx: Context, role_id: str, implied_role_id: str) -> None:
    roles.implication(ctx.session, *_pair(ctx, role_id, implied_role_id))


@routes.delete(_IMPLIES + "/{implied_role_id}", policy="identity:delete_implied_role")
def delete_implied(ctx: Context, role_id: str, implied_role_id: str) -> None:
    ctx.session.delete(roles.implication(ctx.session, *_pair(ctx, role_id, implied_role_id)))


@routes.get("/v3/role_inferences", policy="identity:list_role_inference_rules")
def index_inferences(ctx: Context) -> dict[str, Any]:
    grouped = groupby(roles.implications(ctx.session), key=lambda pair: pair[0])
    items = [
        {"prior_role": _brief(ctx, prior), "implies": [_brief(ctx, implied) for _, implied in pairs]}
        for prior, pairs in grouped
    ]
    return listed(ctx, "role_inferences", items)
