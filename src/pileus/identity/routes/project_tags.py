"""Tags of projects (api-ref identity v3, Project tags)."""

from __future__ import annotations

from typing import Any

from pileus.api import Context, Reply, Routes, Schema
from pileus.errors import NotFound
from pileus.identity import projects
from pileus.identity.routes.projects import PROJECTS, TAG, TAGS

routes = Routes()

_SOME = "/v3/projects/{project_id}/tags"
_ONE = _SOME + "/{tag}"
REPLACE = Schema({"type": "object", "properties": {"tags": TAGS}, "required": ["tags"], "additionalProperties": False})
_TAG = Schema({"type": "object", "properties": {"tag": TAG}})


def _body(ctx: Context, tags: list[str]) -> dict[str, Any]:
    return {"tags": tags, "links": {"self": f"{ctx.root}{ctx.request.path}", "next": None, "previous": None}}


@routes.get(_SOME, policy="identity:list_project_tags", deferred=True)
def index(ctx: Context, project_id: str) -> dict[str, Any]:
    return _body(ctx, PROJECTS.find(ctx, project_id, "identity:list_project_tags").tags)


@routes.put(_SOME, policy="identity:update_project_tags", deferred=True, body=REPLACE)
def replace(ctx: Context, project_id: str) -> dict[str, Any]:
    project = PROJECTS.find(ctx, project_id, "identity:update_project_tags")
    return _body(ctx, projects.update(ctx.session, project, {"tags": ctx.body["tags"]}).tags)


@routes.delete(_SOME, policy="identity:delete_project_tags", deferred=True)
def clear(ctx: Context, project_id: str) -> None:
    projects.update(ctx.session, PROJECTS.find(ctx, project_id, "identity:delete_project_tags"), {"tags": []})


@routes.get(_ONE, policy="identity:get_project_tag", deferred=True, status=204)
@routes.head(_ONE, policy="identity:get_project_tag", deferred=True, status=204)
def check(ctx: Context, project_id: str, tag: str) -> None:
    _have(PROJECTS.find(ctx, project_id, "identity:get_project_tag").tags, project_id, tag)


@routes.put(_ONE, policy="identity:create_project_tag", deferred=True)
def add(ctx: Context, project_id: str, tag: str) -> Reply:
    _TAG.check({"tag": tag})
    project = PROJECTS.find(ctx, project_id, "identity:create_project_tag")
    tags = [*(other for other in project.tags if other != tag), tag]
    Schema(TAGS).check(tags)
    projects.update(ctx.session, project, {"tags": tags})
    return Reply(status=201, headers={"Location": ctx.url(f"/v3/projects/{project_id}/tags/{tag}")})


@routes.delete(_ONE, policy="identity:delete_project_tag", deferred=True)
def delete(ctx: Context, project_id: str, tag: str) -> None:
    project = PROJECTS.find(ctx, project_id, "identity:delete_project_tag")
    _have(project.tags, project_id, tag)
    projects.update(ctx.session, project, {"tags": [other for other in project.tags if other != tag]})


def _have(tags: list[str], project_id: str, tag: str) -> None:
    if tag not in tags:
        raise NotFound(f"Could not find project tag: {tag} on project {project_id}.")
