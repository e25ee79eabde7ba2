"""Server groups (api-ref compute, Server groups)."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ColumnElement

from pileus.api import Context, Resource, Schema, Values, changed, since
from pileus.api.schema import DIGITS, obj, repeated
from pileus.api.style import callers
from pileus.compute import server_groups
from pileus.compute.model import Server
from pileus.compute.parameters import ANY, NO_QUERY_LATE, PRINTABLE_NAME, whole
from pileus.compute.placement_model import HARD, SOFT, ServerGroup
from pileus.compute.quotas import QUOTAS
from pileus.compute.style import STYLE
from pileus.db.reading import Load

_RULE = "os_compute_api:os-server-groups:"
ALL_PROJECTS = _RULE + "index:all_projects"
_POLICY = {"enum": changed([*HARD], v2_15=[*HARD, *SOFT])}
CREATE = Schema.wrapped(
    "server_group",
    obj(
        ["name", changed("policies", v2_64="policy")],
        name=PRINTABLE_NAME,
        policies=changed({"type": "array", "items": _POLICY, "minItems": 1, "maxItems": 1}, v2_64=False),
        policy=since("2.64", _POLICY),
        rules=since("2.64", obj(max_server_per_host=whole(1))),
    ),
)
LIST = Schema.params(closed="2.75", all_projects=ANY, limit=repeated(DIGITS), offset=repeated(DIGITS))


def view(ctx: Context, group: ServerGroup) -> Values:
    """A group with its members."""
    shown: Values = {"id": group.id, "name": group.name, "members": server_groups.members(group)}
    if ctx.at_least("2.13"):
        shown |= {"project_id": group.project_id, "user_id": group.user_id}
    if not ctx.at_least("2.64"):
        return shown | {"policies": [group.policy], "metadata": {}}
    most = group.max_server_per_host
    return shown | {"policy": group.policy, "rules": {} if most is None else {"max_server_per_host": most}}


def _listed(ctx: Context) -> Sequence[ColumnElement[bool]]:
    """Those of the caller's project; all, if that is asked for and the policy lets him."""
    everything = "all_projects" in ctx.query and ctx.allows(ALL_PROJECTS)
    if everything:
        return ()
    ctx.require_project()
    return (callers(ServerGroup.project_id),)


GROUPS = Resource(
    ServerGroup,
    "server_group",
    "/v2.1/os-server-groups",
    style=STYLE,
    rule=_RULE + "{verb}",
    view=view,
    title="Instance group",
    listed=_listed,
    sortable={"created_at": ServerGroup.created_at},
    order=[("created_at", "asc")],
    by_offset=True,
    loads=[Load(ServerGroup.servers, only=[Server.id])],
)
GROUPS.index(query=LIST, asks=(ALL_PROJECTS,))
GROUPS.show(query=NO_QUERY_LATE)
GROUPS.create(body=CREATE, query=NO_QUERY_LATE, quota=QUOTAS.charge("server_groups"))(server_groups.create)
GROUPS.delete(query=NO_QUERY_LATE)(server_groups.delete)
routes = GROUPS.routes
