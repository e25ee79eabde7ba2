"""The table of states."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pileus.compute import states
from pileus.errors import Conflict

STATES = [states.BUILDING, states.ACTIVE, states.STOPPED, states.ERROR]
NEEDED = {
    "stop": {"active", "error"},
    "start": {"stopped"},
    "reboot_soft": {"active"},
    "reboot_hard": {"active", "stopped", "error"},
    "delete": {"building", "active", "stopped", "error"},
}


@pytest.mark.parametrize("name", NEEDED)
@pytest.mark.parametrize("vm_state", STATES)
def test_what_each_action_needs(name: str, vm_state: str) -> None:
    if vm_state in NEEDED[name]:
        assert states.require(name, "s", vm_state, None).name == name
        return
    with pytest.raises(Conflict, match=f"'{name.partition('_')[0]}' instance s while it is in vm_state {vm_state}"):
        states.require(name, "s", vm_state, None)


@pytest.mark.parametrize("name", set(NEEDED) - {"delete"})
def test_one_thing_at_a_time(name: str) -> None:
    with pytest.raises(Conflict, match="while it is in task_state powering-off"):
        states.require(name, "s", next(iter(NEEDED[name])), "powering-off")


def test_delete_does_not_wait() -> None:
    assert states.require("delete", "s", "active", "rebooting").then == states.DELETED


@given(st.sampled_from(STATES), st.sampled_from([None, *{one.during for one in states.ACTIONS.values()}]))
def test_every_state_has_a_status_that_lists_filter_by(vm_state: str, task: str | None) -> None:
    shown = states.status(vm_state, task)
    assert shown.isupper() and states.showing(shown.lower()) == states.showing(shown)
    assert {(vm_state, None), (vm_state, task)} & set(states.showing(shown))


def test_unknown_statuses_name_no_state() -> None:
    assert states.showing("GLOWING") == []


def test_actions_lead_to_states_there_are() -> None:
    for action in states.ACTIONS.values():
        assert action.then in states.STATUS and action.when <= set(states.STATUS)


@pytest.mark.parametrize("vm_state", STATES)
def test_metadata_and_tags_need_a_settled_server(vm_state: str) -> None:
    if vm_state in ("active", "stopped"):
        states.require_settled("update tags", "s", vm_state, None)
        with pytest.raises(Conflict, match="task_state deleting"):
            states.require_settled("update tags", "s", vm_state, "deleting")
        return
    with pytest.raises(Conflict, match=f"'update tags' instance s while it is in vm_state {vm_state}"):
        states.require_settled("update tags", "s", vm_state, None)
