"""Pause, unpause, suspend and resume: one host command each (api-ref compute, Servers - run an action)."""

from __future__ import annotations

from pileus.agent.commands import PauseGuest, ResumeGuest, SuspendGuest, UnpauseGuest
from pileus.compute import owing, servers, spec
from pileus.compute.action import action
from pileus.compute.parameters import SLACK_S
from pileus.compute.states import ACTIVE, PAUSED, SUSPENDED
from pileus.operations import Operation

MEMORY_S = 600.0
"""What a host may take to write a guest's memory to its disk, or to read it, seconds."""


@action("pause", rule="os_compute_api:os-pause-server:pause", when={ACTIVE}, during=("pausing",), then=PAUSED)
def pause(op: Operation, server_id: str) -> None:
    """The guest's CPUs stand still; its memory stays where it is."""
    done = op.command("pause guest", servers.host_of(server_id), spec.owed(PauseGuest, server_id=server_id))
    pause.arrive(op, server_id, done)


@action(
    "unpause",
    rule="os_compute_api:os-pause-server:unpause",
    when={PAUSED},
    during=("unpausing",),
    then=ACTIVE,
    unhindered=owing.alone,
)
def unpause(op: Operation, server_id: str) -> None:
    """The guest goes on."""
    done = op.command("unpause guest", servers.host_of(server_id), spec.owed(UnpauseGuest, server_id=server_id))
    unpause.arrive(op, server_id, done)


@action(
    "suspend", rule="os_compute_api:os-suspend-server:suspend", when={ACTIVE}, during=("suspending",), then=SUSPENDED
)
def suspend(op: Operation, server_id: str) -> None:
    """The guest's memory goes to its host's disk, and the guest stops."""
    command = spec.owed(SuspendGuest, server_id=server_id)
    done = op.command("suspend guest", servers.host_of(server_id), command, deadline_s=MEMORY_S)
    suspend.arrive(op, server_id, done)


@action(
    "resume",
    rule="os_compute_api:os-suspend-server:resume",
    when={SUSPENDED},
    during=("resuming",),
    then=ACTIVE,
    unhindered=owing.alone,
)
def resume(op: Operation, server_id: str, plug_timeout_s: float) -> None:
    """The guest goes on from its saved memory, once its ports are up."""
    command = spec.owed(ResumeGuest, server_id=server_id, plug_timeout_s=plug_timeout_s)
    deadline_s = MEMORY_S + plug_timeout_s + SLACK_S
    done = op.command("resume guest", servers.host_of(server_id), command, deadline_s=deadline_s)
    resume.arrive(op, server_id, done)


resume.prepared(lambda session, server, body, asks: resume.arguments(server.id, asks.settings.plug_timeout_s))
