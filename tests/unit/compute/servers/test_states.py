"""The table of states: what is drawn is what is carried out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pileus.compute import states
from pileus.compute.action import Offer
from pileus.compute.actions import ACTIONS, FLOWS
from pileus.errors import Conflict

STATES = sorted(states.ANY)
NEEDED = {
    "stop": {"active", "error"},
    "start": {"stopped"},
    "reboot": {"active"},
    "reboot_hard": {"active", "stopped", "paused", "suspended", "error"},
    "delete": {
        "building",
        "active",
        "stopped",
        "paused",
        "suspended",
        "resized",
        "error",
        "shelved",
        "shelved_offloaded",
    },
    "pause": {"active"},
    "unpause": {"paused"},
    "suspend": {"active"},
    "resume": {"suspended"},
    "rebuild": {"active", "stopped", "error"},
    "createImage": {"active", "stopped", "paused", "suspended"},
    "attach_interface": {"active", "paused", "stopped"},
    "detach_interface": {"active", "paused", "stopped"},
    "boot": {"building"},
    "resize": {"active", "stopped"},
    "migrate": {"active", "stopped"},
    "confirmResize": {"resized"},
    "revertResize": {"resized"},
    "live-migration": {"active", "paused"},
    "lock": set(STATES),
    "unlock": set(STATES),
    "resetState to active": set(STATES),
    "resetState to error": set(STATES),
    "changePassword": {"active"},
    "getConsoleOutput": set(STATES) - {"building"},
    "shelve": {"active", "stopped", "paused", "suspended"},
    "shelveOffload": {"shelved"},
    "unshelve": {"shelved", "shelved_offloaded"},
    "evacuate": {"active", "stopped", "error"},
}
BESIDE = {"delete", "lock", "unlock", "getConsoleOutput"}
"""What does not wait for anything that is under way."""
TASKS = sorted({task for flow in FLOWS for task in flow.shows})
OFFERS: dict[str, Offer] = {one.transition.name: one.offer for one in ACTIONS}


@pytest.mark.parametrize("name", NEEDED)
@pytest.mark.parametrize("vm_state", STATES)
def test_what_each_action_needs(name: str, vm_state: str) -> None:
    action = OFFERS[name]
    if vm_state in NEEDED[name]:
        action.require("s", vm_state, None)
        return
    with pytest.raises(Conflict, match=f"instance s while it is in vm_state {vm_state}"):
        action.require("s", vm_state, None)


def test_every_action_is_in_the_table() -> None:
    assert set(OFFERS) == set(NEEDED) and len(OFFERS) == len(ACTIONS)


@pytest.mark.parametrize("name", sorted(set(NEEDED) - BESIDE))
def test_one_thing_at_a_time(name: str) -> None:
    with pytest.raises(Conflict, match="while it is in task_state powering-off"):
        OFFERS[name].require("s", next(iter(NEEDED[name])), "powering-off")


@pytest.mark.parametrize("name", sorted(BESIDE))
def test_some_do_not_wait(name: str) -> None:
    OFFERS[name].require("s", "active", "rebooting")


@given(st.sampled_from(STATES), st.sampled_from(TASKS))
def test_every_state_has_a_status_that_lists_filter_by(vm_state: str, task: str) -> None:
    shown = states.status(vm_state, task)
    assert shown.isupper() and states.showing(shown.lower()) == states.showing(shown)
    assert {(vm_state, None), (vm_state, task)} & set(states.showing(shown))


def test_unknown_statuses_name_no_state() -> None:
    assert states.showing("GLOWING") == []


def test_actions_lead_to_states_there_are() -> None:
    for row in (one.transition for one in ACTIONS):
        after = {row.after(state) for state in row.when}
        assert after | {row.failed} - {None} <= set(states.STATUS) and row.when <= set(states.STATUS)
