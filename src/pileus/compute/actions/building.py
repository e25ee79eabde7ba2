"""The way of a guest to a host: placed, connected and built there, by whatever it is built."""

from __future__ import annotations

import msgspec

from pileus.compute import scheduler, spec
from pileus.jsontypes import Values
from pileus.operations import Asked, CommandError, Operation, Owed
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
    """Claim the best host and build the guest there; a host that fails is left for the next best.

    Returns:
        What the host answered.

    Raises:
        CommandError: there is no host, or none could; it names each with its reason.
    """
    placing, connecting, building = way.shows
    excluded: list[str] = []
    reasons: list[str] = []
    for _ in range(way.attempts):
        back = scheduler.release.owed(server_id=server_id)
        try:
            placed = op.step("schedule", scheduler.place, server_id, list(excluded), undo=back, then=connecting)
        except CommandError as error:
            raise CommandError(error.code, " ".join([*reasons, error.message])) from error
        host, incarnation = placed["host"], placed.get("incarnation", 0)  # release 0001 journaled none
        discard = spec.discard.owed(server_id=server_id, incarnation=incarnation)
        build = Asked("build guest", host, way.build, undo=discard, deadline_s=way.deadline_s)
        name, connect = way.connect
        try:
            with op.undoing():
                op.step(name, connect, server_id, host, op.origin, undo=way.disconnect, then=building, ahead=build)
                return op.ask(build)
        except CommandError as error:
            excluded.append(host)
            reasons.append(f"Host {host}: {error.message.rstrip('.')}.")
            op.step("leave host", scheduler.release, server_id, then=placing)
    raise CommandError("build-failed", f"Building failed on {len(reasons)} hosts. {' '.join(reasons)}")
