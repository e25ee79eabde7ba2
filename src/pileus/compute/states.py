"""States of a server: what they are called, what clients are shown, and what guests do to them by themselves.

What actions need and lead to is declared with each of them (compute/actions); docs/states.md is drawn from both.
Sources: api guide compute, Server concepts; api-ref compute, each action's preconditions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import get_args

import msgspec

from pileus.agent.commands import PowerState, State
from pileus.errors import Conflict

BUILDING, ACTIVE, STOPPED, PAUSED, SUSPENDED = "building", "active", "stopped", "paused", "suspended"
RESIZED, ERROR, DELETED = "resized", "error", "deleted"
SHELVED, SHELVED_OFFLOADED = "shelved", "shelved_offloaded"
ANY = frozenset({BUILDING, ACTIVE, STOPPED, PAUSED, SUSPENDED, RESIZED, ERROR, SHELVED, SHELVED_OFFLOADED})

POWER_STATES = frozenset(get_args(State))
"""What a host may say of a guest."""
SETTLED = frozenset({ACTIVE, STOPPED, PAUSED, SUSPENDED})
"""States in which an owner may change a server's metadata and tags."""
TOLD = SETTLED | {RESIZED}
"""States in which a server's guest is told at once what changes of it."""

STATUS = {
    BUILDING: "BUILD",
    ACTIVE: "ACTIVE",
    STOPPED: "SHUTOFF",
    PAUSED: "PAUSED",
    SUSPENDED: "SUSPENDED",
    RESIZED: "VERIFY_RESIZE",
    ERROR: "ERROR",
    SHELVED: "SHELVED",
    SHELVED_OFFLOADED: "SHELVED_OFFLOADED",
    DELETED: "DELETED",
}
REBOOTING, REBOOTING_HARD, REBUILDING, REBUILD_SPAWNING = (
    "rebooting",
    "rebooting_hard",
    "rebuilding",
    "rebuild_spawning",
)
RESIZE_PREP, RESIZE_MIGRATING, RESIZE_MIGRATED = "resize_prep", "resize_migrating", "resize_migrated"
RESIZE_FINISH, RESIZE_REVERTING = "resize_finish", "resize_reverting"
RESIZING = (RESIZE_PREP, RESIZE_MIGRATING, RESIZE_MIGRATED, RESIZE_FINISH)
MIGRATING = "migrating"
TASK_STATUS = {
    (ACTIVE, MIGRATING): "MIGRATING",
    (PAUSED, MIGRATING): "MIGRATING",
    (ACTIVE, REBOOTING): "REBOOT",
    (ACTIVE, REBOOTING_HARD): "HARD_REBOOT",
    **{(state, task): "REBUILD" for state in (ACTIVE, STOPPED, ERROR) for task in (REBUILDING, REBUILD_SPAWNING)},
    **{(state, task): "RESIZE" for state in (ACTIVE, STOPPED) for task in RESIZING},
    (RESIZED, RESIZE_REVERTING): "REVERT_RESIZE",
}
"""Statuses that a task_state changes."""

BY_ITSELF = {
    (ACTIVE, PowerState.SHUTDOWN): STOPPED,
    (ACTIVE, PowerState.CRASHED): STOPPED,
    (ACTIVE, PowerState.PAUSED): PAUSED,
    (PAUSED, PowerState.SHUTDOWN): STOPPED,
    (PAUSED, PowerState.CRASHED): STOPPED,
    (PAUSED, PowerState.RUNNING): ACTIVE,
    (STOPPED, PowerState.RUNNING): ACTIVE,
    (STOPPED, PowerState.PAUSED): PAUSED,
    (SUSPENDED, PowerState.RUNNING): ACTIVE,
    (SUSPENDED, PowerState.PAUSED): PAUSED,
}
"""Where a server goes when its guest is found in a power state that no action led to."""

ADOPTED = {PowerState.RUNNING: ACTIVE, PowerState.PAUSED: PAUSED, PowerState.SHUTDOWN: STOPPED}
"""Where a server begins whose guest is adopted in a power state; in any other it is as if it were off."""

BROKEN = ERROR
"""Where a server goes when the end of an action hits a defect again and again."""


class Transition(msgspec.Struct, frozen=True, kw_only=True):
    """What an action does to a server's state.

    Attributes:
        when: the vm_states that allow it.
        during: the task_states meanwhile, in order; none shows none.
        then: vm_state after, or one for each of `when`; None: the one before. failed: when it fails, None: as before.
        wins: also while another operation is under way, which is cancelled. beside: also then, and that goes on.
    """

    name: str
    when: frozenset[str]
    during: tuple[str, ...] = ()
    then: str | Mapping[str, str] | None = None
    failed: str | None = None
    wins: bool = False
    beside: bool = False

    def after(self, vm_state: str) -> str:
        """Where a server of this vm_state goes."""
        if self.then is None or isinstance(self.then, str):
            return self.then or vm_state
        return self.then[vm_state]


def status(vm_state: str, task_state: str | None) -> str:
    """The API's status of a vm_state and task_state."""
    return TASK_STATUS.get((vm_state, task_state or ""), STATUS[vm_state])


def showing(wanted: str) -> list[tuple[str, str | None]]:
    """The vm_states that show a status, for list filters, with the task_state it takes if it takes one.

    None for an unknown status.
    """
    plain: list[tuple[str, str | None]] = [(state, None) for state, shown in STATUS.items() if shown == wanted.upper()]
    return plain + [pair for pair, shown in TASK_STATUS.items() if shown == wanted.upper()]


def require(what: str, server_id: str, vm_state: str, task_state: str | None, when: frozenset[str]) -> None:
    """Raises Conflict, naming what is in the way, unless a server in this state may have `what` done to it."""
    if vm_state not in when:
        raise Conflict(f"Cannot '{what}' instance {server_id} while it is in vm_state {vm_state}")
    if task_state is not None:
        raise Conflict(f"Cannot '{what}' instance {server_id} while it is in task_state {task_state}")
