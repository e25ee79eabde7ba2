"""Projects and their tags (api-ref identity v3, Projects and Project tags)."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ColumnElement, false, true

from pileus.api import Context, Requester, Schema, Values
from pileus.api.filters import equals
from pileus.api.schema import obj
from pileus.api.tag_urls import tag_urls
from pileus.api.tags import TagRules, tag_filters
from pileus.db.reading import Load
from pileus.identity import assignments, projects
from pileus.identity.model import Project
from pileus.identity.routes.users import USERS
from pileus.identity.style import TEXT, Noun, on

MOST_TAGS = 80
_TAG: Values = {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[^,/]*$"}
_FIELDS: Values = {
    "name": {"type": "string", "minLength": 1, "maxLength": 64, "pattern": r"\S"},
    "description": TEXT,
    "domain_id": TEXT,
    "parent_id": TEXT,
    "is_domain": {"type": "boolean"},
    "enabled": {"type": "boolean"},
    "tags": {"type": "array", "items": _TAG, "maxItems": MOST_TAGS, "uniqueItems": True},
    "options": {"type": "object"},
}


def view(_ctx: Context, project: Project) -> Values:
    """A project (api-ref identity v3, Show project details); each is directly in its domain."""
    return {
        **project.extra,
        "id": project.id,
        "name": project.name,
        "domain_id": project.domain_id,
        "description": project.description,
        "enabled": project.enabled,
        "parent_id": project.domain_id,
        "is_domain": False,
        "tags": project.tags,
        "options": {},
    }


def tags_body(ctx: Context, tags: list[str]) -> Values:
    """The tags of a project (api-ref identity v3, List tags for a project)."""
    return {"tags": tags, "links": {"self": f"{ctx.root}{ctx.request.path}", "next": None, "previous": None}}


def _is_domain(_asks: Requester, values: Sequence[str]) -> ColumnElement[bool]:
    """No project acts as a domain here."""
    return false() if all(on(value) for value in values) else true()


PROJECTS = Noun(
    Project,
    "project",
    view=view,
    domain=Project.domain_id,
    exact=[Project.id, Project.name, Project.domain_id, Project.enabled],
    filters={"parent_id": equals(Project.domain_id), "is_domain": _is_domain, **tag_filters(Project)},
    verbs={
        "index_tags": "identity:list_project_tags",
        "replace_tags": "identity:update_project_tags",
        "clear_tags": "identity:delete_project_tags",
        "show_tag": "identity:get_project_tag",
        "add_tag": "identity:create_project_tag",
        "remove_tag": "identity:delete_project_tag",
    },
    placed=True,
    loads=[Load(Project.tag_rows)],
)
PROJECTS.index()
PROJECTS.show()
PROJECTS.create(body=Schema.wrapped("project", obj(["name"], closed=False, **_FIELDS)))(projects.create)
PROJECTS.update(body=Schema.wrapped("project", obj(closed=False, **_FIELDS)))(projects.update)
PROJECTS.delete()(projects.delete)
TAGS = TagRules(
    most=MOST_TAGS,
    located=True,
    repeats=False,
    missing="Could not find project tag: {tag} on project {key}.",
    body=tags_body,
)
tag_urls(PROJECTS, TAGS)
routes = PROJECTS.routes


def of_user(ctx: Context, user_id: str, *conditions: ColumnElement[bool]) -> Values:
    """The list of the projects that a user can work in, of those that meet the conditions."""
    mine = Project.id.in_(assignments.places(user_id, "project"))
    return PROJECTS.list_of(ctx, Project.enabled.is_(True), mine, *conditions)


@routes.get(USERS.one + "/projects", policy="identity:list_user_projects", deferred=True)
def index_of_user(ctx: Context, user_id: str) -> Values:
    """List projects for user: somebody else's by a domain's token are those of the domain."""
    user = USERS.find(ctx, user_id, "index_projects")
    whole = user.id == ctx.caller.user_id or ctx.is_admin
    return of_user(ctx, user.id, *(() if whole else PROJECTS.of_own_domain(ctx)))
