"""Tokens (api-ref identity, Authentication and token management)."""

from __future__ import annotations

from pileus.api import Context, Reply, Routes, Schema, Values
from pileus.api.routes import OPEN
from pileus.api.schema import obj
from pileus.errors import NotFound, Unauthenticated
from pileus.identity import assignments
from pileus.identity.authentication import authenticate
from pileus.identity.catalog import catalog
from pileus.identity.logins import Logins
from pileus.identity.model import Domain
from pileus.identity.routes import projects
from pileus.identity.routes.domains import DOMAINS
from pileus.identity.tokens import Tokens, described

routes = Routes()

MOST_METHODS = 8
_REF = {"type": "object", "properties": {"id": {"type": "string"}, "name": {"type": "string"}}}
_USER = obj(
    ["password"], closed=False, id={"type": "string"}, name={"type": "string"}, domain=_REF, password={"type": "string"}
)
AUTH = Schema.wrapped(
    "auth",
    obj(
        ["identity"],
        identity=obj(
            ["methods"],
            closed=False,
            methods={"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": MOST_METHODS},
            password=obj(["user"], user=_USER),
            token=obj(["id"], id={"type": "string"}),
        ),
        scope={
            "anyOf": [
                {"const": "unscoped"},
                obj(["unscoped"], unscoped={"type": "object"}),
                obj(
                    ["project"],
                    project=obj(closed=False, id={"type": "string"}, name={"type": "string"}, domain=_REF),
                    **{"OS-TRUST:trust": False},
                ),
                obj(["domain"], domain=_REF),
                obj(["system"], system=obj(["all"], all={"const": True})),
            ]
        },
    ),
)


def body(ctx: Context, token: Values) -> Values:
    """A token's body, with the catalog of what it is for, if it has roles there and the catalog is wanted."""
    if "roles" in token and "nocatalog" not in ctx.query:
        project: Values = token.get("project", {})
        token["catalog"] = catalog(ctx.root, ctx.settings.region, project.get("id"))
    return {"token": token}


@routes.post("/v3/auth/tokens", policy=OPEN, body=AUTH, status=201, transaction=None)
def create(ctx: Context, auth: Values) -> Reply:
    parts = ctx.cloud.part(Tokens), ctx.cloud.part(Logins)
    token, info = authenticate(ctx.cloud.db, *parts, auth, ctx.request.remote_addr)
    return Reply(body(ctx, described(info)), headers={"X-Subject-Token": token, "Vary": "X-Auth-Token"})


def _subject(ctx: Context, rule: str) -> tuple[str, Values]:
    token = ctx.request.get_header("X-Subject-Token")
    if not token:
        raise NotFound("Could not find token: the header X-Subject-Token is missing.")
    try:
        stands_for, shown = ctx.cloud.part(Tokens).described(ctx.session, token)
    except Unauthenticated as error:
        raise NotFound("Could not find token.") from error
    ctx.require(rule, {"target.token.user_id": stands_for.user_id})
    return token, shown


@routes.get("/v3/auth/tokens", policy="identity:validate_token", deferred=True)
def show(ctx: Context) -> Reply:
    token, shown = _subject(ctx, "identity:validate_token")
    return Reply(body(ctx, shown), headers={"X-Subject-Token": token, "Vary": "X-Auth-Token"})


@routes.head("/v3/auth/tokens", policy="identity:check_token", deferred=True)
def check(ctx: Context) -> Reply:
    token, _ = _subject(ctx, "identity:check_token")
    return Reply(headers={"X-Subject-Token": token, "Vary": "X-Auth-Token"})


@routes.delete("/v3/auth/tokens", policy="identity:revoke_token", deferred=True)
def delete(ctx: Context) -> None:
    token, _ = _subject(ctx, "identity:revoke_token")
    ctx.cloud.part(Tokens).revoke(ctx.session, token)


@routes.get("/v3/auth/catalog", policy="identity:get_auth_catalog", transaction=None)
def show_catalog(ctx: Context) -> Values:
    entries = catalog(ctx.root, ctx.settings.region, ctx.caller.project_id)
    return {"catalog": entries, "links": {"self": ctx.url("/v3/auth/catalog"), "next": None, "previous": None}}


@routes.get("/v3/auth/projects", policy="identity:get_auth_projects")
def list_projects(ctx: Context) -> Values:
    return projects.of_user(ctx, ctx.caller.user_id)


@routes.get("/v3/auth/domains", policy="identity:get_auth_domains")
def list_domains(ctx: Context) -> Values:
    own = assignments.places(ctx.caller.user_id, "domain")
    return DOMAINS.list_of(ctx, Domain.enabled.is_(True), Domain.id.in_(own))


@routes.get("/v3/auth/system", policy="identity:get_auth_system")
def list_system(ctx: Context) -> Values:
    roles = assignments.effective_roles(ctx.session, ctx.caller.user_id, "system", "all")
    return {"system": [{"all": True}] if roles else [], "links": {"self": ctx.url("/v3/auth/system")}}
