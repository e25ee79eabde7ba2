"""Domains (api-ref identity v3, Domains)."""

from __future__ import annotations

from typing import Any

from pileus.api import Context, Routes, Schema
from pileus.api.schema import obj
from pileus.identity import domains
from pileus.identity.model import Domain
from pileus.identity.routes.collection import Collection

routes = Routes()

_FIELDS: dict[str, Any] = {
    "name": {"type": "string", "minLength": 1, "maxLength": 64, "pattern": r"\S"},
    "description": {"type": ["string", "null"]},
    "enabled": {"type": "boolean"},
    "options": {"type": "object"},
}
CREATE = Schema.wrapped("domain", obj(["name"], closed=False, **_FIELDS))
UPDATE = Schema.wrapped("domain", obj(closed=False, **_FIELDS))


def _view(domain: Domain) -> dict[str, Any]:
    return {
        "id": domain.id, "name": domain.name, "description": domain.description, "enabled": domain.enabled,
        "tags": [], "options": {},
    }  # fmt: skip


DOMAINS = Collection(Domain, _view, ("id", "name", "enabled"))


@routes.post("/v3/domains", policy="identity:create_domain", body=CREATE, status=201)
def create(ctx: Context, domain: dict[str, Any]) -> dict[str, Any]:
    return DOMAINS.one(ctx, domains.save(ctx.session, None, domain))


@routes.get("/v3/domains", policy="identity:list_domains", deferred=True)
def index(ctx: Context) -> dict[str, Any]:
    return DOMAINS.index(ctx, "identity:list_domains")


@routes.get("/v3/domains/{domain_id}", policy="identity:get_domain", deferred=True)
def show(ctx: Context, domain_id: str) -> dict[str, Any]:
    return DOMAINS.one(ctx, DOMAINS.find(ctx, domain_id, "identity:get_domain"))


@routes.patch("/v3/domains/{domain_id}", policy="identity:update_domain", deferred=True, body=UPDATE)
def update(ctx: Context, domain_id: str, domain: dict[str, Any]) -> dict[str, Any]:
    found = DOMAINS.find(ctx, domain_id, "identity:update_domain")
    return DOMAINS.one(ctx, domains.save(ctx.session, found, domain))


@routes.delete("/v3/domains/{domain_id}", policy="identity:delete_domain", deferred=True)
def delete(ctx: Context, domain_id: str) -> None:
    domains.delete(ctx.session, DOMAINS.find(ctx, domain_id, "identity:delete_domain"))
