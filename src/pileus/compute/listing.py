"""Filters of server lists (api-ref compute, List servers: query parameters)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from sqlalchemy import JSON, ColumnElement, Select, and_, false, or_, select, type_coerce
from sqlalchemy.orm import InstrumentedAttribute

from pileus.api.context import Context
from pileus.api.filters import before, since
from pileus.api.tags import tag_filters
from pileus.api.values import truth, whole
from pileus.compute import states
from pileus.compute.model import Server
from pileus.db.patterns import matches
from pileus.errors import Forbidden, Invalid
from pileus.network import addresses
from pileus.operations.model import SubjectRow

T = TypeVar("T")
ALIASES = {
    "display_name": "name",
    "display_description": "description",
    "image_ref": "image",
    "tenant_id": "project_id",
    "node": "host",
}
EXACT: dict[str, InstrumentedAttribute[Any]] = {
    "image": Server.image_id,
    "reservation_id": Server.reservation_id,
    "uuid": Server.id,
    "user_id": Server.user_id,
    "key_name": Server.key_name,
    "launch_index": Server.launch_index,
    "hostname": Server.hostname,
    "power_state": Server.power_state,
    "host": Server.host,
    "availability_zone": Server.availability_zone,
    "access_ip_v4": Server.access_ip_v4,
    "access_ip_v6": Server.access_ip_v6,
    "locked_by": Server.locked_by,
    "vm_state": Server.vm_state,
}
NUMBERS = ("launch_index", "power_state")
TAGS = tag_filters(Server)
_CHANGED = (
    ("changes-since", since(Server.updated_at, exact=True)),
    ("changes-before", before(Server.updated_at, exact=True)),
)
EVERYBODYS = {
    "2.1": ("reservation_id", "name", "status", "image", "flavor", "ip", "changes-since", "all_tenants"),
    "2.5": ("ip6",),
    "2.26": tuple(TAGS),
    "2.66": ("changes-before",),
    "2.73": ("locked",),
    "2.83": ("availability_zone", "config_drive", "key_name", "power_state", "task_state", "vm_state", "user_id"),
}
"""Filters that need no administrator, by the version from which on; others are ignored."""
LATER = dict.fromkeys(TAGS, "2.26") | {
    "changes-before": "2.66",
    "locked": "2.73",
}


def filtered(ctx: Context, query: Select[Server], name: str) -> Select[Server]:
    """`query` narrowed to the servers that a list request is about.

    Args:
        name: "index" or "detail", whose rules apply.

    Raises:
        Invalid: a filter's value is not one. Forbidden: only administrators may ask for that.
    """
    given = _given(ctx, "os_compute_api:servers:allow_all_filters")
    if _everybodys(ctx):
        ctx.require(f"os_compute_api:servers:{name}:get_all_tenants")
        if project := given.get("project_id"):
            query = query.where(Server.project_id.in_(project))
    else:
        query = query.where(Server.project_id == ctx.project_id)
    if "deleted" in given and truth(given["deleted"][-1]):
        query = query.where(Server.deleted_at.is_not(None))
    elif "changes-since" not in given and not _asks_for_deleted(ctx, given):
        query = query.where(Server.deleted_at.is_(None))
    for key, column in EXACT.items():
        if key in given:
            query = query.where(column.in_(_numbers(key, given[key]) if key in NUMBERS else given[key]))
    return query.where(*_conditions(ctx, given))


def whose(ctx: Context) -> list[ColumnElement[bool]]:
    """Among which servers a marker is looked for, deleted ones with them; the rule was asked by `filtered`."""
    return [] if _everybodys(ctx) else [Server.project_id == ctx.project_id]


def _everybodys(ctx: Context) -> bool:
    return "all_tenants" in ctx.query and truth(ctx.param("all_tenants") or "true")


def _given(ctx: Context, rule: str) -> dict[str, list[str]]:
    """The filters that count for this caller at this version, by their own names."""
    given = {ALIASES.get(key, key): values for key, values in ctx.query.items()}
    given = {key: values for key, values in given.items() if ctx.at_least(LATER.get(key, "2.1"))}
    if ctx.allows(rule):
        return given
    allowed = {key for version, keys in EVERYBODYS.items() if ctx.at_least(version) for key in keys}
    return {key: values for key, values in given.items() if key in allowed}


def _asks_for_deleted(ctx: Context, given: dict[str, list[str]]) -> bool:
    if not any(status.upper() == "DELETED" for status in given.get("status", [])):
        return False
    if not ctx.is_admin:
        raise Forbidden("Only administrators may list deleted instances")
    return True


def _conditions(ctx: Context, given: dict[str, list[str]]) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    for key, text in (("name", Server.name), ("description", Server.description)):
        if key in given:
            found.append(_matching(key, given[key], partial(matches, text)))
    if "status" in given:
        found.append(_status(ctx, given["status"]))
    if "task_state" in given:
        found.append(_doing(given["task_state"]))
    if "flavor" in given:
        found.append(type_coerce(Server.flavor, JSON)["id"].as_string().in_(given["flavor"]))
    if "config_drive" in given:
        found.append(Server.config_drive.is_(_flag(given, "config_drive")))
    if "locked" in given:
        found.append(Server.locked_by.is_not(None) if _flag(given, "locked") else Server.locked_by.is_(None))
    for key, version in (("ip", 4), ("ip6", 6)):
        if key in given:
            at = _matching(key, given[key], partial(addresses.servers_at, version))
            found.append(Server.id.in_(at))
    for key, changed in _CHANGED:
        if key in given:
            try:
                found.append(changed(ctx, given[key][-1:]))
            except ValueError:
                raise Invalid(f"Invalid filter field: {key}.") from None
    return [*found, *(condition(ctx, given[key]) for key, condition in TAGS.items() if key in given)]


def _status(ctx: Context, wanted: list[str]) -> ColumnElement[bool]:
    found = [pair for one in wanted for pair in states.showing(one)]
    if not found:
        if ctx.at_least("2.38"):
            raise Invalid("Invalid status value")
        return false()
    return or_(
        *(
            Server.vm_state == state if task is None else and_(Server.vm_state == state, _doing([task]))
            for state, task in found
        )
    )


def _doing(task_states: list[str]) -> ColumnElement[bool]:
    return Server.id.in_(select(SubjectRow.subject_id).where(SubjectRow.task_state.in_(task_states)))


def _flag(given: dict[str, list[str]], key: str) -> bool:
    try:
        return truth(given[key][-1])
    except ValueError:
        raise Invalid(f"Invalid filter field: {key}.") from None


def _numbers(key: str, values: list[str]) -> list[int]:
    try:
        return [whole(value) for value in values]
    except ValueError:
        raise Invalid(f"Invalid filter field: {key}.") from None


def _matching(key: str, values: list[str], condition: Callable[[str], T]) -> T:
    """The last value counts, but all must be patterns."""
    try:
        return [condition(value) for value in values][-1]
    except ValueError as error:
        raise Invalid(f"Invalid input for query parameters {key}. Value: {values[-1][:200]}. {error}") from None
