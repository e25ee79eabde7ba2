"""The list of role assignments (api-ref identity v3, List role assignments)."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Select, false, select

from pileus.api import Context, Routes, Values
from pileus.db import Session
from pileus.errors import Invalid
from pileus.identity import assignments, grants
from pileus.identity.model import Assignment, Domain, Project, Role, User
from pileus.identity.style import listed, on, own_domain

routes = Routes()

SCOPES = {"scope.project.id": "project", "scope.domain.id": "domain", "scope.system": "system"}


class Names:
    """Names of what assignments are about, all read at once."""

    def __init__(self, session: Session) -> None:
        self._domains = {row.id: row.name for row in session.scalars(select(Domain))}
        self._session = session
        self._rows: dict[str, Any] = {}

    def load(self, model: Any, ids: set[str]) -> None:
        self._rows |= {row.id: row for row in self._session.scalars(select(model).where(model.id.in_(ids)))}

    def ref(self, row_id: str) -> Values:
        """An id with its name, and its domain's."""
        row = self._rows.get(row_id)
        if row is None:
            return {"id": row_id}
        ref = {"id": row_id, "name": row.name}
        if getattr(row, "domain_id", None):
            ref["domain"] = {"id": row.domain_id, "name": self._domains.get(row.domain_id)}
        return ref


@routes.get("/v3/role_assignments", policy="identity:list_role_assignments", deferred=True)
def index(ctx: Context) -> Values:
    ctx.require("identity:list_role_assignments", own_domain(ctx))
    effective, role_id = _flag(ctx, "effective"), ctx.param("role.id")
    if effective and ctx.param("group.id"):
        raise Invalid("Combining effective and group filter will always result in an empty list.")
    found = ctx.session.scalars(_query(ctx, role_id, effective))
    if effective:
        reached = assignments.effective(ctx.session, found.all())
        pairs = [pair for pair in reached if role_id in (None, pair[1])]
    else:
        pairs = [(assignment, assignment.role_id) for assignment in found]
    names = _names(ctx, pairs) if _flag(ctx, "include_names") else None
    return listed(ctx, "role_assignments", (_view(ctx, assignment, role, names) for assignment, role in pairs))


def _flag(ctx: Context, name: str) -> bool:
    value = ctx.param(name)
    try:
        return value is not None and on(value)
    except ValueError as error:
        raise Invalid(f"Invalid input for query parameters {name}. {error}.") from None


def _query(ctx: Context, role_id: str | None, effective: bool) -> Select[Assignment]:
    query = select(Assignment).order_by(Assignment.user_id, Assignment.scope, Assignment.target_id, Assignment.role_id)
    if user_id := ctx.param("user.id"):
        query = query.where(Assignment.user_id == user_id)
    if role_id is not None:
        wanted = assignments.with_prior(ctx.session, role_id) if effective else {role_id}
        query = query.where(Assignment.role_id.in_(wanted))
    for name, scope in SCOPES.items():
        if value := ctx.param(name):
            target_id = "all" if scope == "system" else value
            query = query.where(Assignment.scope == scope, Assignment.target_id == target_id)
    if ctx.param("group.id") or ctx.param("scope.OS-INHERIT:inherited_to"):
        query = query.where(false())  # neither groups nor inheritance are served
    if ctx.caller.domain_id:
        query = query.where(grants.of_domain(ctx.caller.domain_id))
    return query


def _names(ctx: Context, pairs: list[tuple[Assignment, str]]) -> Names:
    names = Names(ctx.session)
    names.load(Role, {role_id for _, role_id in pairs})
    names.load(User, {assignment.user_id for assignment, _ in pairs})
    for model, scope in ((Project, "project"), (Domain, "domain")):
        names.load(model, {assignment.target_id for assignment, _ in pairs if assignment.scope == scope})
    return names


def _view(ctx: Context, assignment: Assignment, role_id: str, names: Names | None) -> Values:
    def ref(row_id: str) -> Values:
        return names.ref(row_id) if names else {"id": row_id}

    place = "/system" if assignment.scope == "system" else f"/{assignment.scope}s/{assignment.target_id}"
    path = f"/v3{place}/users/{assignment.user_id}/roles/{assignment.role_id}"
    links = {"assignment": ctx.url(path)}
    if role_id != assignment.role_id:
        links["prior_role"] = ctx.url(f"/v3/roles/{assignment.role_id}")
    scope = {"all": True} if assignment.scope == "system" else ref(assignment.target_id)
    return {
        "role": ref(role_id),
        "user": ref(assignment.user_id),
        "scope": {assignment.scope: scope},
        "links": links,
    }
