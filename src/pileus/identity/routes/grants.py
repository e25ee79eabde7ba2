"""Grants: a user's roles on a project, a domain or the system (api-ref identity v3, Roles and System Role
Assignments)."""

from __future__ import annotations

from typing import Any

from pileus.api import Context, Routes, Values
from pileus.identity import grants
from pileus.identity.grants import Place, place
from pileus.identity.model import Domain, Project
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

    def _find(self, ctx: Context, verb: str, path: Values, *wanted: tuple[str, Noun[Any]]) -> tuple[Place, list[Any]]:
        """Where the URL is about, and which rows of `wanted` it names, once the policy allows `verb` on all of them."""
        named = [(self._scope, self._noun)] if self._noun else []
        urls = [(word, noun, path[noun.parameter]) for word, noun in (*wanted, *named)]
        rows = find_all(ctx, self._rule(verb), *urls)
        target: Project | Domain | None = rows.pop() if self._noun else None
        return place(self._scope, target), rows

    def _index(self, ctx: Context, **path: str) -> Values:
        where, (user,) = self._find(ctx, "list", path, ("user", USERS))
        return listed(ctx, "roles", ROLES.style.views(ctx, ROLES, grants.given(ctx.session, user, where)))

    def _check(self, ctx: Context, **path: str) -> None:
        where, (user, role) = self._find(ctx, "check", path, ("user", USERS), ("role", ROLES))
        grants.find(ctx.session, user, role, where)

    def _give(self, ctx: Context, **path: str) -> None:
        where, (user, role) = self._find(ctx, "create", path, ("user", USERS), ("role", ROLES))
        grants.give(ctx.session, user, role, where)

    def _take(self, ctx: Context, **path: str) -> None:
        where, (user, role) = self._find(ctx, "revoke", path, ("user", USERS), ("role", ROLES))
        ctx.session.delete(grants.find(ctx.session, user, role, where))


Grants("project", PROJECTS.one, "grant{s}", PROJECTS)
Grants("domain", DOMAINS.one, "grant{s}", DOMAINS)
Grants("system", "/v3/system", "system_grant{s}_for_user", None)
