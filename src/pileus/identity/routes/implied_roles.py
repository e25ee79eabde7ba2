"""Which roles imply which (api-ref identity v3, Roles: List implied (inference) roles for role and its like)."""

from __future__ import annotations

from itertools import groupby

from pileus.api import Context, Routes, Values
from pileus.identity import roles
from pileus.identity.model import Role
from pileus.identity.routes.roles import ROLES
from pileus.identity.style import find_all, listed

routes = Routes()
_ALL = ROLES.one + "/implies"
_ONE = _ALL + "/{implied_role_id}"


def _brief(ctx: Context, role: Role) -> Values:
    return {"id": role.id, "name": role.name, "links": {"self": ctx.url(f"/v3/roles/{role.id}")}}


def _pair(ctx: Context, rule: str, prior_id: str, implied_role_id: str) -> tuple[Role, Role]:
    prior, implied = find_all(ctx, rule, ("prior_role", ROLES, prior_id), ("implied_role", ROLES, implied_role_id))
    return prior, implied


def _inference(ctx: Context, prior: Role, implied: Values | list[Values]) -> Values:
    body = {"prior_role": _brief(ctx, prior), "implies": implied}
    return {"role_inference": body, "links": {"self": f"{ctx.root}{ctx.request.path}"}}


@routes.get(_ALL, policy="identity:list_implied_roles", deferred=True)
def index(ctx: Context, role_id: str) -> Values:
    (prior,) = find_all(ctx, "identity:list_implied_roles", ("prior_role", ROLES, role_id))
    return _inference(ctx, prior, [_brief(ctx, role) for _, role in roles.implications(ctx.session, prior)])


@routes.put(_ONE, policy="identity:create_implied_role", deferred=True, status=201)
def create(ctx: Context, role_id: str, implied_role_id: str) -> Values:
    prior, implied = _pair(ctx, "identity:create_implied_role", role_id, implied_role_id)
    roles.imply(ctx.session, prior, implied)
    return _inference(ctx, prior, _brief(ctx, implied))


@routes.get(_ONE, policy="identity:get_implied_role", deferred=True)
def show(ctx: Context, role_id: str, implied_role_id: str) -> Values:
    prior, implied = _pair(ctx, "identity:get_implied_role", role_id, implied_role_id)
    roles.implication(ctx.session, prior, implied)
    return _inference(ctx, prior, _brief(ctx, implied))


@routes.head(_ONE, policy="identity:check_implied_role", deferred=True, status=204)
def check(ctx: Context, role_id: str, implied_role_id: str) -> None:
    roles.implication(ctx.session, *_pair(ctx, "identity:check_implied_role", role_id, implied_role_id))


@routes.delete(_ONE, policy="identity:delete_implied_role", deferred=True)
def delete(ctx: Context, role_id: str, implied_role_id: str) -> None:
    pair = _pair(ctx, "identity:delete_implied_role", role_id, implied_role_id)
    ctx.session.delete(roles.implication(ctx.session, *pair))


@routes.get("/v3/role_inferences", policy="identity:list_role_inference_rules")
def index_all(ctx: Context) -> Values:
    grouped = groupby(roles.implications(ctx.session), key=lambda pair: pair[0])
    items = [
        {"prior_role": _brief(ctx, prior), "implies": [_brief(ctx, implied) for _, implied in pairs]}
        for prior, pairs in grouped
    ]
    return listed(ctx, "role_inferences", items)
