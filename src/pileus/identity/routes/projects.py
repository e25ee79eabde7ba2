"""Projects (api-ref identity v3, Projects)."""

from __future__ import annotations

from typing import Any

from pileus.api import Context, Routes, Schema
from pileus.api.schema import obj
from pileus.identity import assignments, projects
from pileus.identity.model import Project
from pileus.identity.routes.collection import Collection, domain_of
from pileus.identity.routes.users import USERS

routes = Routes()

NAME = {"type": "string", "minLength": 1, "maxLength": 64, "pattern": r"\S"}
_TEXT = {"type": ["string", "null"]}
TAG = {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[^,/]*$"}
TAGS = {"type": "array", "items": TAG, "maxItems": 80, "uniqueItems": True}
_FIELDS: dict[str, Any] = {
    "name": NAME,
    "description": _TEXT,
    "domain_id": _TEXT,
    "parent_id": _TEXT,
    "is_domain": {"type": "boolean"},
    "enabled": {"type": "boolean"},
    "tags": TAGS,
    "options": {"type": "object"},
}
CREATE = Schema.wrapped("project", obj(["name"], closed=False, **_FIELDS))
UPDATE = Schema.wrapped("project", obj(closed=False, **_FIELDS))


def _view(project: Project) -> dict[str, Any]:
    return {
        **project.extra, "id": project.id, "name": project.name, "domain_id": project.domain_id,
        "description": project.description, "enabled": project.enabled, "parent_id": project.domain_id,
        "is_domain": False, "tags": project.tags, "options": {},
    }  # fmt: skip


PROJECTS = Collection(Project, _view, ("id", "name", "domain_id", "enabled"))


@routes.post("/v3/projects", policy="identity:create_project", deferred=True, body=CREATE, status=201)
def create(ctx: Context, project: dict[str, Any]) -> dict[str, Any]:
    domain_id = domain_of(ctx, project)
    ctx.require("identity:create_project", {"target.project.domain_id": domain_id})
    return PROJECTS.one(ctx, projects.create(ctx.session, domain_id, {**project, "domain_id": domain_id}))


@routes.get("/v3/projects", policy="identity:list_projects", deferred=True)
def index(ctx: Context) -> dict[str, Any]:
    if ctx.param("parent_id"):  # every project is directly in its domain
        ctx.query["domain_id"] = ctx.query["parent_id"]
    return PROJECTS.index(ctx, "identity:list_projects")


@routes.get("/v3/projects/{project_id}", policy="identity:get_project", deferred=True)
def show(ctx: Context, project_id: str) -> dict[str, Any]:
    return PROJECTS.one(ctx, PROJECTS.find(ctx, project_id, "identity:get_project"))


@routes.patch("/v3/projects/{project_id}", policy="identity:update_project", deferred=True, body=UPDATE)
def update(ctx: Context, project_id: str, project: dict[str, Any]) -> dict[str, Any]:
    found = PROJECTS.find(ctx, project_id, "identity:update_project")
    return PROJECTS.one(ctx, projects.update(ctx.session, found, project))


@routes.delete("/v3/projects/{project_id}", policy="identity:delete_project", deferred=True)
def delete(ctx: Context, project_id: str) -> None:
    projects.delete(ctx.session, PROJECTS.find(ctx, project_id, "identity:delete_project"))


@routes.get("/v3/users/{user_id}/projects", policy="identity:list_user_projects", deferred=True)
def index_of_user(ctx: Context, user_id: str) -> dict[str, Any]:
    user = USERS.find(ctx, user_id, "identity:list_user_projects")
    return PROJECTS.many(ctx, assignments.projects_of(ctx.session, user))
