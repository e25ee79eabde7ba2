"""The URLs of a service's quotas: each project's limits, their defaults, and what is used of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pileus.api.context import Context
from pileus.api.quota import Quotas
from pileus.api.routes import Options, Routes
from pileus.api.style import Values
from pileus.errors import Invalid, NotFound


class QuotaUrls:
    """One service's quotas under `path`/{project_id}. A service overrides what it writes differently.

    Attributes:
        name: as in bodies.
        verbs: those that are served, and the rules that are asked about the project: show, details, defaults, update,
            delete, list.
        details, defaults: the last part of those URLs. used: what is used, as details call it.
        delete_status: of success.
    """

    name = "quota"
    details, defaults, used = "details", "default", "used"
    delete_status = 204

    def __init__(self, quotas: Quotas, path: str, verbs: Mapping[str, str], **options: Options) -> None:
        """
        Args:
            options: of the routes of a verb, such as update={"body": ...}.
        """
        self.quotas, self.verbs, self.routes = quotas, verbs, Routes()
        one = f"{path}/{{project_id}}"
        if "list" in verbs:
            self.routes.get(path, policy=verbs["list"])(self._list)
        self.routes.get(one, **self._guard("show", options))(self._show)
        self.routes.get(f"{one}/{self.details}", **self._guard("details", options))(self._details)
        self.routes.get(f"{one}/{self.defaults}", **self._guard("defaults", options))(self._defaults)
        self.routes.put(one, **self._guard("update", options))(self._update)
        self.routes.delete(one, **({"status": self.delete_status} | self._guard("delete", options)))(self._delete)

    # --- what services write differently ---------------------------------------------------------------------

    def require_project(self, ctx: Context, project_id: str) -> None:
        """Raises Invalid where a project that is not there has no quotas."""

    def shown(self, ctx: Context, limits: Values, unlimited: Any) -> Values:
        """What of the limits clients see; `unlimited` stands for what another service limits."""
        return limits

    def body(self, project_id: str, shown: Values) -> Values:
        """The body of one project's quotas."""
        return {self.name: shown}

    def read(self, ctx: Context) -> tuple[dict[str, int], bool]:
        """The limits that a body sets, and whether they may be below what is used.

        Raises:
            Invalid: one of them is none, or there is no such resource.
        """
        raise NotImplementedError

    def below(self, limit: int, name: str, used: int) -> str:
        """What a client is told that sets a limit below what is used."""
        raise NotImplementedError

    def unset(self, project_id: str) -> NotFound | None:
        """The error of a reset of limits that are the defaults; None: that is none."""
        return None

    # --- handlers --------------------------------------------------------------------------------------------

    def _guard(self, verb: str, options: Mapping[str, Options]) -> Options:
        own: Options = {"policy": self.verbs[verb], "deferred": True}
        return own | options.get(verb, {})

    def _ask(self, ctx: Context, verb: str, project_id: str) -> None:
        ctx.require(self.verbs[verb], {"project_id": project_id, "tenant_id": project_id})
        self.require_project(ctx, project_id)

    def _list(self, ctx: Context) -> Values:
        found = [(project, self.quotas.limits(ctx.session, project)) for project in self.quotas.projects(ctx.session)]
        own = {project: {"project_id": project, "tenant_id": project} for project, _ in found}
        return {f"{self.name}s": [self.shown(ctx, dict(limits), -1) | own[project] for project, limits in found]}

    def _show(self, ctx: Context, project_id: str) -> Values:
        self._ask(ctx, "show", project_id)
        return self.body(project_id, self.shown(ctx, dict(self.quotas.limits(ctx.session, project_id)), -1))

    def _details(self, ctx: Context, project_id: str) -> Values:
        self._ask(ctx, "details", project_id)
        used = self.quotas.used(ctx.session, project_id)

        def detail(limit: int, count: int) -> Values:
            return {"limit": limit, self.used: count, "reserved": 0}

        limits = {name: detail(one, used[name]) for name, one in self.quotas.limits(ctx.session, project_id).items()}
        return self.body(project_id, self.shown(ctx, limits, detail(-1, 0)))

    def _defaults(self, ctx: Context, project_id: str) -> Values:
        self._ask(ctx, "defaults", project_id)
        return self.body(project_id, self.shown(ctx, dict(self.quotas.defaults), -1))

    def _update(self, ctx: Context, project_id: str, *_: Any, **_body: Any) -> Values:
        self._ask(ctx, "update", project_id)
        limits, forced = self.read(ctx)
        self.quotas.lock(ctx.session, project_id)
        if not forced:
            for name, used in self.quotas.over(ctx.session, project_id, limits).items():
                raise Invalid(self.below(limits[name], name, used))
        self.quotas.set(ctx.session, project_id, limits)
        return {self.name: self.shown(ctx, dict(self.quotas.limits(ctx.session, project_id)), -1)}

    def _delete(self, ctx: Context, project_id: str) -> None:
        self._ask(ctx, "delete", project_id)
        if not self.quotas.reset(ctx.session, project_id) and (error := self.unset(project_id)):
            raise error
