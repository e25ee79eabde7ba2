"""States of a server: one table of what each action needs, shows while it runs, and leads to.

docs/states.md is drawn from it. Sources: api guide compute, Server concepts; api-ref compute, each action's
preconditions.
"""

from __future__ import annotations

import msgspec

from pileus.errors import Conflict

BUILDING, ACTIVE, STOPPED, ERROR, DELETED = "building", "active", "stopped", "error", "deleted"
ANY = frozenset({BUILDING, ACTIVE, STOPPED, ERROR})


class Action(msgspec.Struct, frozen=True):
    """One row: from which vm_states, which task_state meanwhile, which vm_state after.

    `always`: also while another operation is live (delete wins).
    """

    name: str
    when: frozenset[str]
    during: str
    then: str
    always: bool = False


ACTIONS = {
    action.name: action
    for action in (
        Action("create", frozenset(), "scheduling", ACTIVE),
        Action("delete", ANY, "deleting", DELETED, always=True),
        Action("stop", frozenset({ACTIVE, ERROR}), "powering-off", STOPPED),
        Action("start", frozenset({STOPPED}), "powering-on", ACTIVE),
        Action("reboot_soft", frozenset({ACTIVE}), "rebooting", ACTIVE),
        Action("reboot_hard", frozenset({ACTIVE, STOPPED, ERROR}), "rebooting_hard", ACTIVE),
    )
}

SETTLED = frozenset({ACTIVE, STOPPED})
"""States in which an owner may change a server's metadata and tags."""

STATUS = {BUILDING: "BUILD", ACTIVE: "ACTIVE", STOPPED: "SHUTOFF", ERROR: "ERROR", DELETED: "DELETED"}
TASK_STATUS = {
    (ACTIVE, "rebooting"): "REBOOT",
    (ACTIVE, "rebooting_hard"): "HARD_REBOOT",
    (STOPPED, "rebooting_hard"): "HARD_REBOOT",
    (ERROR, "rebooting_hard"): "HARD_REBOOT",
}
"""Statuses that a task_state changes."""


def status(vm_state: str, task_state: str | None) -> str:
    """The API's status of a vm_state and task_state."""
    return TASK_STATUS.get((vm_state, task_state or ""), STATUS[vm_state])


def showing(wanted: str) -> list[tuple[str, str | None]]:
    """The vm_states that show a status, for list filters, with the task_state it takes if it takes one.

    None for an unknown status.
    """
    plain: list[tuple[str, str | None]] = [(state, None) for state, shown in STATUS.items() if shown == wanted.upper()]
    return plain + [pair for pair, shown in TASK_STATUS.items() if shown == wanted.upper()]


def require(name: str, server_id: str, vm_state: str, task_state: str | None) -> Action:
    """The action's row, if a server in this state may do it.

    Raises:
        Conflict: naming the state in the way.
    """
    action = ACTIONS[name]
    verb = name.partition("_")[0]
    if task_state is not None and not action.always:
        raise Conflict(f"Cannot '{verb}' instance {server_id} while it is in task_state {task_state}")
    if vm_state not in action.when:
        raise Conflict(f"Cannot '{verb}' instance {server_id} while it is in vm_state {vm_state}")
    return action


def require_settled(what: str, server_id: str, vm_state: str, task_state: str | None) -> None:
    """Raises Conflict unless a server in this state may have its metadata or tags changed."""
    if vm_state not in SETTLED:
        raise Conflict(f"Cannot '{what}' instance {server_id} while it is in vm_state {vm_state}")
    if task_state is not None:
        raise Conflict(f"Cannot '{what}' instance {server_id} while it is in task_state {task_state}")
