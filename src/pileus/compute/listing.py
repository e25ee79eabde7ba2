"""Which servers a list has (api-ref compute, List servers: query parameters)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from sqlalchemy import JSON, ColumnElement, and_, false, or_, select, true, type_coerce

from pileus.api.context import Context
from pileus.api.filters import Condition, Filter, before, equals, from_version, since
from pileus.api.style import callers
from pileus.api.tags import tag_filters
from pileus.compute import servers, states
from pileus.compute.model import Server
from pileus.db.patterns import matches
from pileus.errors import Forbidden, Invalid
from pileus.network import addresses
from pileus.operations.model import SubjectRow
from pileus.values import truth

ALL_FILTERS = "os_compute_api:servers:allow_all_filters"
ALIASES = {
    "display_name": "name",
    "display_description": "description",
    "image_ref": "image",
    "tenant_id": "project_id",
    "node": "host",
}
EVERYBODYS = {
    "2.1": ("reservation_id", "name", "status", "image", "flavor", "ip", "changes-since"),
    "2.5": ("ip6",),
    "2.26": ("tags", "tags-any", "not-tags", "not-tags-any"),
    "2.66": ("changes-before",),
    "2.73": ("locked",),
    "2.83": ("availability_zone", "config_drive", "key_name", "power_state", "task_state", "vm_state", "user_id"),
}
"""Filters that need no rule, by the version from which on; for who may not use all, others do nothing."""


def everybodys(ctx: Context) -> bool:
    """Whether the list is to have every project's servers."""
    return "all_tenants" in ctx.query and truth(ctx.param("all_tenants") or "true")


def listed(ctx: Context) -> Sequence[ColumnElement[bool]]:
    """Of whose servers a list is, and whether of those that were deleted.

    Raises:
        Forbidden: the policy keeps deleted servers from the caller.
    """
    whose: tuple[Condition, ...] = ()
    if not everybodys(ctx):
        ctx.require_project()
        whose = (callers(Server.project_id),)
    deleted = ctx.param("deleted")
    if deleted is not None and truth(deleted) and ctx.allows(ALL_FILTERS):
        return (*whose, Server.deleted_at.is_not(None))
    if "changes-since" in ctx.query:
        return whose
    if any(status.upper() == "DELETED" for status in ctx.query.get("status", [])):
        if not ctx.allows(ALL_FILTERS):
            raise Forbidden("Only administrators may list deleted instances")
        return whose
    return (*whose, servers.EXISTS)


def _counted(first: str | None, condition: Filter) -> Filter:
    """A filter that is everybody's from a version on (None: never), and otherwise of those who may use all."""

    def counted(ctx: Context, values: Sequence[str]) -> Condition:
        counts = (first is not None and ctx.at_least(first)) or ctx.allows(ALL_FILTERS)
        return condition(ctx, values) if counts else true()

    return counted


def _last(condition: Filter) -> Filter:
    """Of several values the last one counts."""
    return lambda ctx, values: condition(ctx, values[-1:])


def _flag(condition: Callable[[bool], Condition]) -> Filter:
    return lambda _ctx, values: condition(truth(values[-1]))


def _matching(condition: Callable[[str], Condition]) -> Filter:
    """A regular expression; the last one counts, but all must be patterns."""
    return lambda _ctx, values: [condition(value) for value in values][-1]


def _project(ctx: Context, values: Sequence[str]) -> Condition:
    """Only where the list is of every project's servers."""
    return Server.project_id.in_(values) if everybodys(ctx) else true()


def _status(ctx: Context, values: Sequence[str]) -> Condition:
    found = [pair for one in values for pair in states.showing(one)]
    if not found:
        if ctx.at_least("2.38"):
            raise Invalid("Invalid status value")
        return false()
    return or_(
        *(
            Server.vm_state == state if task is None else and_(Server.vm_state == state, _doing(ctx, [task]))
            for state, task in found
        )
    )


def _doing(_ctx: Context, values: Sequence[str]) -> Condition:
    return Server.id.in_(select(SubjectRow.subject_id).where(SubjectRow.task_state.in_(values)))


def _flavor(_ctx: Context, values: Sequence[str]) -> Condition:
    found: Condition = type_coerce(Server.flavor, JSON)["id"].as_string().in_(values)
    return found


def _filters() -> dict[str, Filter]:
    first = {name: version for version, names in EVERYBODYS.items() for name in names}
    equal = (
        Server.reservation_id, Server.user_id, Server.key_name, Server.launch_index, Server.hostname,
        Server.power_state, Server.host, Server.availability_zone, Server.access_ip_v4, Server.access_ip_v6,
        Server.locked_by, Server.vm_state,
    )  # fmt: skip
    found: dict[str, Filter] = {column.key: equals(column) for column in equal}
    found |= {"image": equals(Server.image_id), "uuid": equals(Server.id), "flavor": _flavor, "project_id": _project}
    found |= {"status": _status, "task_state": _doing}
    found |= {
        "name": _matching(partial(matches, Server.name)),
        "description": _matching(partial(matches, Server.description)),
        "ip": _matching(lambda pattern: Server.id.in_(addresses.servers_at(4, pattern))),
        "ip6": _matching(lambda pattern: Server.id.in_(addresses.servers_at(6, pattern))),
        "config_drive": _flag(Server.config_drive.is_),
        "locked": _flag(lambda locked: Server.locked_by.is_not(None) if locked else Server.locked_by.is_(None)),
        "changes-since": _last(since(Server.updated_at, exact=True)),
        "changes-before": _last(before(Server.updated_at, exact=True)),
    }
    found |= tag_filters(Server)
    later = (*EVERYBODYS["2.26"], *EVERYBODYS["2.66"], *EVERYBODYS["2.73"])
    found |= {name: from_version(first[name], found[name]) for name in later}
    counted = {name: _counted(first.get(name), condition) for name, condition in found.items()}
    return counted | {alias: counted[name] for alias, name in ALIASES.items()}


FILTERS = _filters()
