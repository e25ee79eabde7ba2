"""Grants: a user's roles on a project, a domain or the system (api-ref identity v3, Roles and System Role
Assignments)."""

from __future__ import annotations

from typing import Any

from pileus.api import Context, Routes, Values
from pileus.identity import grants
from pileus.identity.model import Domain, Project, Role, User
from pileus.identity.routes.domains import DOMAINS
from pileus.identity.routes.projects import PROJECTS
from pileus.identity.routes.roles import ROLES
from pileus.identity.routes.users import USERS
from pileus.identity.style import Noun, find_all, listed

routes = Routes()


class Grants:
    """The URLs of grants on one kind of target.

    Args:
        scope: project, domain or system.
        path: URL of the target.
        rules: of list, check, create, revoke.
        noun: what the target is; None for the system.
    """

    def __init__(self, scope: str, path: str, rules: str, noun: Noun[Project] | Noun[Domain] | None) -> None:
        self._scope, self._rules, self._noun = scope, rules, noun
        some, one = f"{path}/users/{{user_id}}/roles", f"{path}/users/{{user_id}}/roles/{{role_id}}"
        verbs = (
            ("GET", some, "list", self._index, 200),
            ("HEAD", some, "list", self._index, 200),
            ("GET", one, "check", self._check, 204),
            ("HEAD", one, "check", self._check, 204),
            ("PUT", one, "create", self._give, 204),
            ("DELETE", one, "revoke", self._take, 204),
        )
        for method, url, verb, handler, status in verbs:
            routes.add(method, url, policy=self._rule(verb), deferred=True, status=status)(handler)

    def _rule(self, verb: str) -> str:
        return f"identity:{verb}_{self._rules.format(s='s' if verb == 'list' else '')}"

    def _target(self, key: str) -> list[tuple[str, Noun[Any], str]]:
        return [(self._scope, self._noun, key)] if self._noun else []

    def _find(
        self, ctx: Context, verb: str, user_id: str, role_id: str, key: str
    ) -> tuple[User, Role, Project | Domain | None]:
        """What the URL names, once the policy allows `verb` on it."""
        wanted = ("user", USERS, user_id), ("role", ROLES, role_id)
        user, role, *target = find_all(ctx, self._rule(verb), *wanted, *self._target(key))
        return user, role, target[0] if target else None

    def _index(self, ctx: Context, user_id: str, key: str = "all") -> Values:
        user, *_ = find_all(ctx, self._rule("list"), ("user", USERS, user_id), *self._target(key))
        given = grants.given(ctx.session, user, self._scope, key)
        return listed(ctx, "roles", ROLES.style.views(ctx, ROLES, given))

    def _check(self, ctx: Context, user_id: str, role_id: str, key: str = "all") -> None:
        user, role, _ = self._find(ctx, "check", user_id, role_id, key)
        grants.find(ctx.session, user, role, self._scope, key)

    def _give(self, ctx: Context, user_id: str, role_id: str, key: str = "all") -> None:
        user, role, target = self._find(ctx, "create", user_id, role_id, key)
        project = target if isinstance(target, Project) else None
        grants.give(ctx.session, user, role, self._scope, project, key)

    def _take(self, ctx: Context, user_id: str, role_id: str, key: str = "all") -> None:
        user, role, _ = self._find(ctx, "revoke", user_id, role_id, key)
        ctx.session.delete(grants.find(ctx.session, user, role, self._scope, key))


Grants("project", "/v3/projects/{key}", "grant{s}", PROJECTS)
Grants("domain", "/v3/domains/{key}", "grant{s}", DOMAINS)
Grants("system", "/v3/system", "system_grant{s}_for_user", None)
