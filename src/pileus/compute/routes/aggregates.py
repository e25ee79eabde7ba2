"""Host aggregates (api-ref compute, Host aggregates)."""

from __future__ import annotations

from typing import Any

from pileus.api import Context, Resource, Schema, Values
from pileus.api.fields import micros
from pileus.api.schema import nullable, obj
from pileus.compute import aggregates
from pileus.compute.parameters import NO_QUERY_LATE, PRINTABLE_NAME
from pileus.compute.placement_model import Aggregate
from pileus.compute.style import NUMBERED
from pileus.db.reading import Load

_ZONE = nullable({**PRINTABLE_NAME, "pattern": r"^[^\s\p{C}:]([^\p{C}:]*[^\s\p{C}:])?$"})
_SPACED_NAME = {**PRINTABLE_NAME, "pattern": r"^\s*[^\s\p{C}]([^\p{C}]*[^\s\p{C}])?\s*$"}
_HOST = obj(["host"], host={"type": "string", "minLength": 1, "maxLength": 255, "pattern": r"^[a-zA-Z0-9\-._]*$"})
_METADATA = {
    "type": "object",
    "propertyNames": {"pattern": r"^[a-zA-Z0-9-_:. ]{1,255}$"},
    "additionalProperties": nullable({"type": "string", "maxLength": 255}),
}
CREATE = Schema.wrapped("aggregate", obj(["name"], name=PRINTABLE_NAME, availability_zone=_ZONE))
UPDATE = Schema.wrapped("aggregate", {**obj(name=_SPACED_NAME, availability_zone=_ZONE), "minProperties": 1})
ADD_HOST, REMOVE_HOST = Schema.wrapped("add_host", _HOST), Schema.wrapped("remove_host", _HOST)
SET_METADATA = Schema.wrapped("set_metadata", obj(["metadata"], metadata=_METADATA))


def created(ctx: Context, row: Aggregate) -> Values:
    """What POST answers: no hosts and no metadata."""
    shown: Values = {
        "id": row.id,
        "name": row.name,
        "availability_zone": row.availability_zone,
        "created_at": micros(row.created_at),
        "updated_at": micros(row.updated_at),
        "deleted": False,
        "deleted_at": None,
    }
    return shown | ({"uuid": row.uuid} if ctx.at_least("2.41") else {})


def view(ctx: Context, row: Aggregate) -> Values:
    """An aggregate in full."""
    zone: dict[str, Any] = {aggregates.ZONE: row.availability_zone} if row.availability_zone else {}
    return created(ctx, row) | {"hosts": row.hosts, "metadata": zone | row.metadata_}


AGGREGATES = Resource(
    Aggregate,
    "aggregate",
    "/v2.1/os-aggregates",
    style=NUMBERED,
    rule="os_compute_api:os-aggregates:{verb}",
    view=view,
    paged=False,
    loads=[Load(Aggregate.host_rows)],
)
AGGREGATES.index(query=NO_QUERY_LATE)
AGGREGATES.show(query=NO_QUERY_LATE)
AGGREGATES.create(body=CREATE, query=NO_QUERY_LATE, view=created)(aggregates.create)
AGGREGATES.update(body=UPDATE, query=NO_QUERY_LATE)(aggregates.update)
AGGREGATES.delete(query=NO_QUERY_LATE, status=200)(aggregates.delete)
AGGREGATES.action("add_host", body=ADD_HOST, query=NO_QUERY_LATE)(aggregates.add_host)
AGGREGATES.action("remove_host", body=REMOVE_HOST, query=NO_QUERY_LATE)(aggregates.remove_host)
AGGREGATES.action("set_metadata", body=SET_METADATA, query=NO_QUERY_LATE)(aggregates.set_metadata)
routes = AGGREGATES.routes
