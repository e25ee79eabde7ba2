"""Joining: a machine becomes a host of the cloud. Who has a join token may; nothing secret is sent."""

from __future__ import annotations

import msgspec

from pileus.api import Context, Routes, Schema, Values
from pileus.api.routes import OPEN
from pileus.api.schema import obj
from pileus.jointoken import Application
from pileus.membership import agents
from pileus.operations.ids import cloud_id

routes = Routes()
_TEXT: Values = {"type": "string", "maxLength": 255}
JOIN = Schema.wrapped(
    "agent",
    obj(
        ["token", "name", "simulates", "address", "request", "at", "seal"],
        token=_TEXT,
        name=_TEXT,
        simulates={"type": "boolean"},
        address=_TEXT,
        request={"type": "string", "maxLength": 8192},
        at={"type": "integer", "minimum": 0, "maximum": 2**40},
        seal=_TEXT,
    ),
)


@routes.post("/v1/agents", policy=OPEN, body=JOIN, status=201)
def join(ctx: Context, agent: Values) -> Values:
    asked = msgspec.convert(agent, Application)
    admitted = agents.join(ctx.session, asked, cloud_id(ctx.session), ctx.settings.certificate_lifetime_s)
    return {"agent": msgspec.to_builtins(admitted)}
