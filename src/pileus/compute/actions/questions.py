"""What a server's host is asked while the request waits: its console log, to change its password."""

from __future__ import annotations

from pileus.api import Values
from pileus.api.schema import integer, nullable, obj
from pileus.compute.action import question
from pileus.compute.model import Server
from pileus.compute.states import ACTIVE, ANY, BUILDING
from pileus.errors import Conflict
from pileus.operations.questions import Questions

USER = "root"


@question(
    "changePassword",
    rule="os_compute_api:os-admin-password",
    name="changePassword",
    when={ACTIVE},
    body=obj(["adminPass"], adminPass={"type": "string"}),
)
def change_password(hosts: Questions, server: Server, body: Values) -> None:
    """By the agent in the guest: no journal keeps the password (api-ref compute, Change Administrative Password).

    Raises:
        Conflict: there is no agent, or it does not do it.
    """
    told = {"host": server.host, "server_id": server.id, "user": USER, "password": body["adminPass"]}
    try:
        hosts.tell("/password", **told)
    except Conflict as error:
        raise Conflict(f"Failed to set admin password on {server.id} because {error.message}") from error


@question(
    "os-getConsoleOutput",
    rule="os_compute_api:os-console-output",
    name="getConsoleOutput",
    when=ANY - {BUILDING},
    beside=True,
    body=obj(length=nullable(integer(-1))),
    status=200,
    locks=False,
    journaled=False,
)
def console_output(hosts: Questions, server: Server, body: Values) -> Values:
    """The end of its console log (api-ref compute, Show Console Output)."""
    query: Values = {"host": server.host, "server_id": server.id}
    length = body.get("length")
    if length is not None and int(length) >= 0:
        query["lines"] = int(length)
    return {"output": str(hosts.ask("/console", **query)["output"])}
