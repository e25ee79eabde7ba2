"""Stop, start and reboot: one host command each (api-ref compute, Servers - run an action)."""

from __future__ import annotations

from pileus.agent.commands import RebootGuest, StartGuest, StopGuest
from pileus.api import Requester, Values
from pileus.api.schema import obj
from pileus.compute import owing, servers, spec
from pileus.compute.action import action
from pileus.compute.model import Server
from pileus.compute.parameters import SLACK_S
from pileus.compute.states import ACTIVE, ERROR, PAUSED, REBOOTING, REBOOTING_HARD, STOPPED, SUSPENDED
from pileus.db import Session
from pileus.operations import Arguments, Operation

_RULE = "os_compute_api:servers:"
REBOOT = obj(["type"], type={"enum": ["HARD", "Hard", "hard", "SOFT", "Soft", "soft"]})


@action("os-stop", rule=_RULE + "stop", when={ACTIVE, ERROR}, during=("powering-off",), then=STOPPED)
def stop(op: Operation, server_id: str, timeout_s: float) -> None:
    """ACPI first, the plug after `timeout_s` seconds."""
    command = spec.owed(StopGuest, server_id=server_id, timeout_s=timeout_s)
    done = op.command("power off", servers.host_of(server_id), command, deadline_s=timeout_s + SLACK_S)
    stop.arrive(op, server_id, done)


stop.prepared(lambda session, server, body, asks: stop.arguments(server.id, asks.settings.shutdown_timeout_s))


@action(
    "os-start",
    rule=_RULE + "start",
    when={STOPPED},
    during=("powering-on",),
    then=ACTIVE,
    unhindered=owing.alone,
)
def start(op: Operation, server_id: str, plug_timeout_s: float) -> None:
    """From SHUTOFF, with a fresh definition."""
    command = spec.owed(StartGuest, server_id=server_id, plug_timeout_s=plug_timeout_s)
    done = op.command("power on", servers.host_of(server_id), command, deadline_s=plug_timeout_s + SLACK_S)
    start.arrive(op, server_id, done)


start.prepared(lambda session, server, body, asks: start.arguments(server.id, asks.settings.plug_timeout_s))


def _is_hard(body: object) -> bool:
    return isinstance(body, dict) and str(body.get("type")).upper() == "HARD"


@action(
    "reboot",
    rule=_RULE + "reboot",
    when={ACTIVE, STOPPED, PAUSED, SUSPENDED, ERROR},
    during=(REBOOTING_HARD,),
    then=ACTIVE,
    failed=ERROR,
    body=REBOOT,
    fits=_is_hard,
    unhindered=owing.alone,
)
def reboot_hard(op: Operation, server_id: str, timeout_s: float) -> None:
    """Power cycle with a fresh definition; mends a server in ERROR."""
    reboot_hard.arrive(op, server_id, _reboot(op, server_id, timeout_s, hard=True))


@action(
    "reboot",
    name="reboot",
    rule=_RULE + "reboot",
    when={ACTIVE},
    during=(REBOOTING,),
    then=ACTIVE,
    body=REBOOT,
    unhindered=owing.alone,
)
def reboot_soft(op: Operation, server_id: str, timeout_s: float) -> None:
    """Ask the guest; one that does not answer is power cycled."""
    reboot_soft.arrive(op, server_id, _reboot(op, server_id, timeout_s, hard=False))


def _reboot(op: Operation, server_id: str, timeout_s: float, hard: bool) -> Values:
    command = spec.owed(RebootGuest, server_id=server_id, hard=hard, timeout_s=timeout_s)
    return op.command("reboot", servers.host_of(server_id), command, deadline_s=timeout_s + SLACK_S)


@reboot_hard.prepared
@reboot_soft.prepared
def _rebooting(session: Session, server: Server, body: Values, asks: Requester) -> Arguments:
    return Arguments(server.id, {"server_id": server.id, "timeout_s": asks.settings.shutdown_timeout_s})
