"""Grants: a user's roles on a project, a domain or the system (api-ref identity v3, Roles and System Role
Assignments)."""

from __future__ import annotations

from typing import Any

from pileus.api import Context, Routes
from pileus.identity import grants, rows
from pileus.identity.model import Domain, Project, Role, User
from pileus.identity.routes.collection import Collection, listed
from pileus.identity.routes.domains import DOMAINS
from pileus.identity.routes.projects import PROJECTS
from pileus.identity.routes.roles import ROLES
from pileus.identity.routes.users import USERS

routes = Routes()


class Grants:
    """The URLs of grants on one kind of target.

    Args:
        scope: project, domain or system.
        target: URL of the target; the last {parameter} is its id.
        rules: of list, check, create, revoke.
        collection: where the target is found; None for the system.
    """

    def __init__(self, scope: str, target: str, rules: str, collection: Collection[Any] | None) -> None:
        self._scope, self._rules, self._collection = scope, rules, collection
        some, one = f"{target}/users/{{user_id}}/roles", f"{target}/users/{{user_id}}/roles/{{role_id}}"
        verbs = (
            ("GET", some, "list", self._index, 200), ("HEAD", some, "list", self._index, 200),
            ("GET", one, "check", self._check, 204), ("HEAD", one, "check", self._check, 204),
            ("PUT", one, "create", self._give, 204), ("DELETE", one, "revoke", self._take, 204),
        )  # fmt: skip
        for method, path, verb, handler, status in verbs:
            routes.add(method, path, policy=self._rule(verb), deferred=True, status=status)(handler)

    def _rule(self, verb: str) -> str:
        return f"identity:{verb}_{self._rules.format(s='s' if verb == 'list' else '')}"

    def _find(
        self, ctx: Context, verb: str, user_id: str, role_id: str | None, target: dict[str, str]
    ) -> tuple[User, Role | None, Project | Domain | None, str]:
        """What the URL names, once the policy allows `verb` on it."""
        target_id = next(iter(target.values()), "all")
        named: list[tuple[Collection[Any], str]] = [(USERS, user_id)]
        named += [(ROLES, role_id)] if role_id else []
        named += [(self._collection, target_id)] if self._collection else []
        about: dict[str, Any] = {}
        for collection, row_id in named:
            about |= collection.target(ctx.session.get(collection.model, row_id))
        ctx.require(self._rule(verb), about)
        found = [rows.find(ctx.session, collection.model, row_id) for collection, row_id in named]
        role = found[1] if role_id else None
        return found[0], role, found[-1] if self._collection else None, target_id

    def _index(self, ctx: Context, user_id: str, **target: str) -> dict[str, Any]:
        user, _, _, target_id = self._find(ctx, "list", user_id, None, target)
        given = grants.given(ctx.session, user, self._scope, target_id)
        return listed(ctx, "roles", (ROLES.view(ctx, role) for role in given))

    def _check(self, ctx: Context, user_id: str, role_id: str, **target: str) -> None:
        user, role, _, target_id = self._find(ctx, "check", user_id, role_id, target)
        assert role is not None
        grants.find(ctx.session, user, role, self._scope, target_id)

    def _give(self, ctx: Context, user_id: str, role_id: str, **target: str) -> None:
        user, role, row, target_id = self._find(ctx, "create", user_id, role_id, target)
        assert role is not None
        project = row if isinstance(row, Project) else None
        grants.give(ctx.session, user, role, self._scope, project, target_id)

    def _take(self, ctx: Context, user_id: str, role_id: str, **target: str) -> None:
        user, role, _, target_id = self._find(ctx, "revoke", user_id, role_id, target)
        assert role is not None
        ctx.session.delete(grants.find(ctx.session, user, role, self._scope, target_id))


Grants("project", "/v3/projects/{project_id}", "grant{s}", PROJECTS)
Grants("domain", "/v3/domains/{domain_id}", "grant{s}", DOMAINS)
Grants("system", "/v3/system", "system_grant{s}_for_user", None)
