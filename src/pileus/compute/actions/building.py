"""The way of a guest to a host: placed, connected and built there, by whatever it is built."""

from __future__ import annotations

import msgspec

from pileus.compute import owing, scheduler, spec
from pileus.compute.actions.attempts import on_some_host
from pileus.db import Session
from pileus.jsontypes import Values
from pileus.operations import Asked, Operation, Owed
from pileus.operations.steps import StepFunction


class Way(msgspec.Struct, frozen=True, kw_only=True):
    """What flows that build guests do each in its own way.

    Attributes:
        attempts: on how many hosts it is tried.
        connect: the step that gives the server its ports on a host: its name, and what is called with the server's id,
            the host and the request's origin. disconnect: takes that back.
        build: the command; deadline_s: how long a host may take for it, seconds.
        shows: the task_states while it is placed, connected and built.
    """

    attempts: int
    connect: tuple[str, StepFunction]
    disconnect: Owed
    build: Owed
    deadline_s: float
    shows: tuple[str, str, str]


def build_on_some_host(op: Operation, server_id: str, way: Way) -> Values:
    """Claim the best host and build the guest there; a host that fails is left for the next best. One that does not say
    that nothing is left there is the last that is tried: two guests of one server are never made, of one identity
    and, on shared storage, with one disk.

    Returns:
        What the host answered.

    Raises:
        CommandError: there is no host, or none could; it names each with its reason.
    """
    placing, connecting, building = way.shows
    name, connect = way.connect

    def place(excluded: list[str]) -> Values:
        back = scheduler.release.owed(server_id=server_id)
        return op.step("schedule", scheduler.place, server_id, excluded, undo=back, then=connecting)

    def use(placed: Values) -> Values:
        host, incarnation = placed["host"], placed.get("incarnation", 0)  # release 0001 journaled none
        discard = spec.discard.owed(server_id=server_id, incarnation=incarnation, may_run=True)
        build = Asked("build guest", host, way.build, undo=discard, deadline_s=way.deadline_s)
        op.step(name, connect, server_id, host, op.origin, undo=way.disconnect, then=building, ahead=build)
        return op.ask(build)

    def leave() -> bool:
        left = op.step("leave host", leave_host, server_id, then=placing)
        return bool(left.get("again", True))  # release 0008 journaled none

    return on_some_host(op, way.attempts, place, use, leave, "Building")


def leave_host(session: Session, server_id: str) -> Values:
    """The server is on no host; returns {"again": whether another may be tried}."""
    scheduler.release(session, server_id)
    return {"again": owing.hindrance(session, server_id, None) is None}
