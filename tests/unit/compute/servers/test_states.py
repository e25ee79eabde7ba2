"""The table of states: what is drawn is what is carried out."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pileus.compute import states
from pileus.compute.action import Action
from pileus.compute.actions import FLOWS, power
from pileus.errors import Conflict

STATES = sorted(states.ANY)
NEEDED = {
    "stop": {"active", "error"},
    "start": {"stopped"},
    "reboot": {"active"},
    "reboot_hard": {"active", "stopped", "paused", "suspended", "error"},
    "delete": {"building", "active", "stopped", "paused", "suspended", "error"},
    "pause": {"active"},
    "unpause": {"paused"},
    "suspend": {"active"},
    "resume": {"suspended"},
    "rebuild": {"active", "stopped", "error"},
    "createImage": {"active", "stopped", "paused", "suspended"},
    "attach_interface": {"active", "paused", "stopped"},
    "detach_interface": {"active", "paused", "stopped"},
}
BY_NAME: dict[str, Action[Any]] = {flow.transition.name: flow for flow in FLOWS}


@pytest.mark.parametrize("name", NEEDED)
@pytest.mark.parametrize("vm_state", STATES)
def test_what_each_action_needs(name: str, vm_state: str) -> None:
    action = BY_NAME[name]
    if vm_state in NEEDED[name]:
        action.require("s", vm_state, None)
        return
    with pytest.raises(Conflict, match=f"instance s while it is in vm_state {vm_state}"):
        action.require("s", vm_state, None)


def test_every_action_is_in_the_table() -> None:
    assert set(BY_NAME) == {*NEEDED, "boot"}


@pytest.mark.parametrize("name", set(NEEDED) - {"delete"})
def test_one_thing_at_a_time(name: str) -> None:
    with pytest.raises(Conflict, match="while it is in task_state powering-off"):
        BY_NAME[name].require("s", next(iter(NEEDED[name])), "powering-off")


def test_delete_does_not_wait() -> None:
    BY_NAME["delete"].require("s", "active", "rebooting")
    assert BY_NAME["delete"].transition.then == states.DELETED


def test_what_is_shown_meanwhile_is_what_the_table_says() -> None:
    assert {flow.transition.name: flow.kind.task_state for flow in FLOWS} == {
        flow.transition.name: flow.transition.during for flow in FLOWS
    }
    assert power.stop.kind.name == "server.stop"


@given(st.sampled_from(STATES), st.sampled_from(sorted({str(flow.transition.during) for flow in FLOWS})))
def test_every_state_has_a_status_that_lists_filter_by(vm_state: str, task: str) -> None:
    shown = states.status(vm_state, task)
    assert shown.isupper() and states.showing(shown.lower()) == states.showing(shown)
    assert {(vm_state, None), (vm_state, task)} & set(states.showing(shown))


def test_unknown_statuses_name_no_state() -> None:
    assert states.showing("GLOWING") == []


def test_actions_lead_to_states_there_are() -> None:
    for flow in FLOWS:
        row = flow.transition
        assert {row.then, row.failed} - {None} <= set(states.STATUS) and row.when <= set(states.STATUS)
