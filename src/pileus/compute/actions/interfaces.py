"""Attach an interface to a server, and detach one (api-ref compute, Port interfaces)."""

from __future__ import annotations

import msgspec

from pileus.agent.commands import AttachPort
from pileus.api import Requester, Values
from pileus.compute import owing, servers, spec
from pileus.compute.action import action
from pileus.compute.model import Server
from pileus.compute.parameters import SLACK_S
from pileus.compute.states import ACTIVE, PAUSED, STOPPED
from pileus.db import Session
from pileus.errors import Conflict, NotFound
from pileus.network import requests, server_ports, wiring
from pileus.operations import Arguments, Operation, Origin, Owed, recorded

_RULE = "os_compute_api:os-attach-interfaces:"
DETACH_S = 60.0
"""How long a guest may take to let an interface go, seconds."""


@action(None, rule=_RULE + "create", name="attach_interface", when={ACTIVE, PAUSED, STOPPED}, during=(), then=None)
def attach_interface(op: Operation, server_id: str, port_id: str, plug_timeout_s: float) -> None:
    """The port is bound to the server's host, and plugged there."""
    bound = op.step("bind port", bind, server_id, port_id, op.origin)
    command = spec.owed(AttachPort, server_id=server_id, port_id=port_id, plug_timeout_s=plug_timeout_s)
    host = bound["host"]
    unplug = spec.detach_port.owed(server_id=server_id, port_id=port_id, port=bound["port"], host=host)
    op.command("attach port", host, command, undo=unplug, deadline_s=plug_timeout_s + SLACK_S)
    op.step("record port", carry, server_id, port_id, last=True)


@action(None, rule=_RULE + "delete", name="detach_interface", when={ACTIVE, PAUSED, STOPPED}, during=(), then=None)
def detach_interface(op: Operation, server_id: str, port_id: str, host: str = "", plug_timeout_s: float = 60.0) -> None:
    """The guest lets the interface go, then the port goes: one made for the server is deleted.

    A host that did not say what came of it may have taken the port: it is to give it back.
    """
    command = spec.detach_port.owed(server_id=server_id, port_id=port_id)
    again = spec.plug_again.owed(server_id=server_id, port_id=port_id, plug_timeout_s=plug_timeout_s, host=host)
    # An operation that is older than these arguments is begun without a way back.
    place, undo = (host, again) if host else (servers.host_of(server_id), None)
    op.command("detach port", place, command, undo=undo, deadline_s=DETACH_S + SLACK_S)
    op.step("release port", release, server_id, port_id, op.origin, last=True)


# --- what requests come to ----------------------------------------------------------------------------------


@attach_interface.prepared
def _attach(session: Session, server: Server, body: Values, asks: Requester) -> Arguments:
    """The server has one more port at once.

    Args:
        body: port_id, or net_id with fixed_ips; tag.

    Raises:
        Invalid, Conflict, QuotaExceeded. Forbidden: an external network.
    """
    networks: list[Values] | None = None
    if body.get("port_id") or body.get("net_id"):
        address = next((one["ip_address"] for one in body.get("fixed_ips", ())), None)
        named = {"port": body.get("port_id"), "uuid": body.get("net_id"), "fixed_ip": address}
        networks = [named | {"tag": body.get("tag")}]
    found = requests.validate(session, asks, networks, server.project_id)
    if not found:
        raise Conflict(f"No network is there that an interface of instance {server.id} could be on.")
    if found[0].port_id:
        owing.plugged(session, found[0].port_id)
    port = server_ports.attach(session, server.id, server.project_id, found[0], server.hostname, asks)
    return attach_interface.arguments(server.id, port.id, asks.settings.plug_timeout_s)


@attach_interface.undone
def _give_back(arguments: Arguments) -> Owed:
    """The request has given the port to the server."""
    return give_up_port.owed(server_id=arguments.subject_id, port_id=arguments.values["port_id"])


@detach_interface.prepared
def _detach(session: Session, server: Server, body: Values, asks: Requester) -> Arguments:
    """Raises NotFound: the server has no such port. Conflict: its host still owes it something."""
    port_id = body["port_id"]
    try:
        server_ports.one_of_server(session, server.id, port_id)
    except NotFound:
        raise NotFound(f"Instance {server.id} does not have a port with id {port_id}") from None
    owing.plugged(session, port_id)
    timeout_s = asks.settings.plug_timeout_s
    return detach_interface.arguments(server.id, port_id, host=server.host or "", plug_timeout_s=timeout_s)


# --- steps --------------------------------------------------------------------------------------------------


def bind(session: Session, server_id: str, port_id: str, origin: Origin) -> Values:
    """The network learns where the port is. What it is stays in the journal: it may be gone when it is unplugged."""
    host = servers.host_of(server_id)(session)
    server_ports.bind_port(session, server_id, port_id, host, origin.request_id)
    (port,) = (one for one in wiring.guest_ports(session, [server_id])[server_id] if one.port.id == port_id)
    return {"host": host, "port": msgspec.to_builtins(port)}


@recorded("give up port")
def give_up_port(session: Session, server_id: str, port_id: str) -> None:
    """A port that could not be plugged is the server's no more; idempotent."""
    server_ports.release_port(session, server_id, port_id)


def carry(session: Session, server_id: str, port_id: str) -> None:
    """The port carries traffic as the server's others do; raises NotFound: it was deleted meanwhile."""
    server_ports.one_of_server(session, server_id, port_id)
    with attach_interface.arriving(session, server_id, {}) as server:
        server_ports.set_up(session, [server.id], server.vm_state in (ACTIVE, PAUSED))


def release(session: Session, server_id: str, port_id: str, origin: Origin) -> None:
    """The port is the server's no more."""
    server_ports.release_port(session, server_id, port_id, origin.request_id)
    with detach_interface.arriving(session, server_id, {}):
        pass
