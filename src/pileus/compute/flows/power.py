"""Stop, start and reboot: one host command each."""

from __future__ import annotations

from functools import partial

from pileus.compute import servers, spec
from pileus.compute.model import Server
from pileus.compute.states import ACTIVE, ERROR, STOPPED
from pileus.db import Session
from pileus.operations import Operation, flow


def stay(session: Session, op: Operation, error: dict[str, str]) -> None:
    """The guest is as it was; the owner sees why nothing happened."""
    server = session.get(Server, op.subject_id)
    if server is not None and server.deleted_at is None:
        servers.add_fault(session, server, error["message"])


def break_down(session: Session, op: Operation, error: dict[str, str]) -> None:
    """A power cycle failed half-way: only a hard reboot helps."""
    server = session.get(Server, op.subject_id)
    if server is not None and server.deleted_at is None:
        servers.set_state(server, ERROR)
        servers.add_fault(session, server, error["message"])


@flow("server.stop", task_state="powering-off", failed=stay)
def stop(op: Operation, server_id: str, host: str, timeout_s: float) -> None:
    """ACTIVE to SHUTOFF: ACPI first, the plug after `timeout_s` seconds."""
    done = op.command("power off", host, partial(spec.stop, server_id=server_id, timeout_s=timeout_s))
    op.step("record state", record, server_id, STOPPED, done["power_state"], last=True)


@flow("server.start", task_state="powering-on", failed=stay)
def start(op: Operation, server_id: str, host: str, plug_timeout_s: float) -> None:
    """SHUTOFF to ACTIVE."""
    done = op.command("power on", host, partial(spec.start, server_id=server_id, plug_timeout_s=plug_timeout_s))
    op.step("record state", record, server_id, ACTIVE, done["power_state"], last=True)


@flow("server.reboot", task_state="rebooting", failed=stay)
def reboot_soft(op: Operation, server_id: str, host: str, timeout_s: float) -> None:
    """Ask the guest; one that does not answer is power cycled."""
    done = op.command("reboot", host, partial(spec.reboot, server_id=server_id, hard=False, timeout_s=timeout_s))
    op.step("record state", record, server_id, ACTIVE, done["power_state"], last=True)


@flow("server.reboot_hard", task_state="rebooting_hard", failed=break_down)
def reboot_hard(op: Operation, server_id: str, host: str, timeout_s: float) -> None:
    """Power cycle with a fresh definition; mends a server in ERROR."""
    done = op.command("reboot", host, partial(spec.reboot, server_id=server_id, hard=True, timeout_s=timeout_s))
    op.step("record state", record, server_id, ACTIVE, done["power_state"], last=True)


def record(session: Session, server_id: str, vm_state: str, power_state: int) -> None:
    """The host's answer is the server's state."""
    servers.set_state(session.get_one(Server, server_id), vm_state, power_state)
