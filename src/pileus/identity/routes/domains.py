"""Domains (api-ref identity v3, Domains)."""

from __future__ import annotations

from pileus.api import Context, Schema, Values
from pileus.api.schema import obj
from pileus.identity import domains
from pileus.identity.model import Domain
from pileus.identity.style import TEXT, Noun

_FIELDS: Values = {
    "name": {"type": "string", "minLength": 1, "maxLength": 64, "pattern": r"\S"},
    "description": TEXT,
    "enabled": {"type": "boolean"},
    "options": {"type": "object"},
}


def view(_ctx: Context, domain: Domain) -> Values:
    """A domain (api-ref identity v3, Show domain details)."""
    return {
        "id": domain.id,
        "name": domain.name,
        "description": domain.description,
        "enabled": domain.enabled,
        "tags": [],
        "options": {},
    }


DOMAINS = Noun(
    Domain,
    "domain",
    view=view,
    domain=Domain.id,
    exact=[Domain.id, Domain.name, Domain.enabled],
)
DOMAINS.index()
DOMAINS.show()
DOMAINS.create(body=Schema.wrapped("domain", obj(["name"], closed=False, **_FIELDS)))(domains.create)
DOMAINS.update(body=Schema.wrapped("domain", obj(closed=False, **_FIELDS)))(domains.update)
DOMAINS.delete()(domains.delete)
routes = DOMAINS.routes
