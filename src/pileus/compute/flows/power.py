"""Stop, start and reboot: one host command each."""

from __future__ import annotations

from typing import Any

from pileus.compute import servers, spec
from pileus.compute.flows.failures import break_down, broken, stay
from pileus.compute.states import ACTIVE, STOPPED
from pileus.db import Session
from pileus.operations import Operation, flow

SLACK_S = 120.0
"""What a host may take beyond the time its guest is given, seconds."""


@flow("server.stop", task_state="powering-off", failed=stay, broken=broken)
def stop(op: Operation, server_id: str, timeout_s: float) -> None:
    """ACTIVE to SHUTOFF: ACPI first, the plug after `timeout_s` seconds."""
    command = spec.stop.owed(server_id=server_id, timeout_s=timeout_s)
    done = op.command("power off", servers.host_of(server_id), command, deadline_s=timeout_s + SLACK_S)
    op.step("record state", record, server_id, STOPPED, done, last=True)


@flow("server.start", task_state="powering-on", failed=stay, broken=broken)
def start(op: Operation, server_id: str, plug_timeout_s: float) -> None:
    """SHUTOFF to ACTIVE."""
    command = spec.start.owed(server_id=server_id, plug_timeout_s=plug_timeout_s)
    done = op.command("power on", servers.host_of(server_id), command, deadline_s=plug_timeout_s + SLACK_S)
    op.step("record state", record, server_id, ACTIVE, done, last=True)


@flow("server.reboot", task_state="rebooting", failed=stay, broken=broken)
def reboot_soft(op: Operation, server_id: str, timeout_s: float) -> None:
    """Ask the guest; one that does not answer is power cycled."""
    command = spec.reboot.owed(server_id=server_id, hard=False, timeout_s=timeout_s)
    done = op.command("reboot", servers.host_of(server_id), command, deadline_s=timeout_s + SLACK_S)
    op.step("record state", record, server_id, ACTIVE, done, last=True)


@flow("server.reboot_hard", task_state="rebooting_hard", failed=break_down, broken=broken)
def reboot_hard(op: Operation, server_id: str, timeout_s: float) -> None:
    """Power cycle with a fresh definition; mends a server in ERROR."""
    command = spec.reboot.owed(server_id=server_id, hard=True, timeout_s=timeout_s)
    done = op.command("reboot", servers.host_of(server_id), command, deadline_s=timeout_s + SLACK_S)
    op.step("record state", record, server_id, ACTIVE, done, last=True)


def record(session: Session, server_id: str, vm_state: str, done: dict[str, Any]) -> None:
    """The host's answer is the server's state, unless the guest has done something since."""
    server = servers.held(session, server_id)
    assert server is not None
    servers.set_state(server, vm_state, done["power_state"])
    servers.catch_up(server, done.get("at"))
