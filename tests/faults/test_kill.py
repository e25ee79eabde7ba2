"""kill -9 at points of boot and delete: the operation finishes or is undone, and nothing is left over.

tests/simulation has every point, and every other fault; here are real processes, at some ten points.
"""

from __future__ import annotations

import os
import signal

import pytest

from pileus.agent.commands import PowerState
from tests.faults.conftest import Victim
from tests.support import eventually

OF_BOOT = (
    "schedule:after",
    "allocate network:before",
    "build guest:before",
    "define guest:before",
    "build guest:after",
    "activate:before",
)
OF_DELETE = ("discard guest:before", "release:before")


@pytest.mark.parametrize("point", OF_BOOT)
def test_boot_survives_kill(victim: Victim, point: str) -> None:
    booted: list[str] = []
    victim.kill_at(point, lambda: booted.append(victim.boot()))
    [server_id] = booted
    assert victim.settled(server_id).status == "ACTIVE"
    victim.assert_holds_exactly(1)
    victim.compute.delete_server(server_id)
    victim.gone(server_id)
    victim.assert_holds_exactly(0)


@pytest.mark.parametrize("point", OF_DELETE)
def test_delete_survives_kill(victim: Victim, point: str) -> None:
    server_id = victim.boot()
    assert victim.settled(server_id).status == "ACTIVE"
    victim.kill_at(point, lambda: victim.compute.delete_server(server_id))
    victim.gone(server_id)
    victim.assert_holds_exactly(0)


def test_delete_wins_over_a_boot_that_was_killed(victim: Victim) -> None:
    with victim.cloud.held_at("define guest:before") as [held]:
        server_id = victim.boot()
        eventually(lambda: held.taken, 30, "the hold point")
        victim.compute.delete_server(server_id)
        victim.cloud.kill()
    victim.cloud.up()
    victim.gone(server_id)
    victim.assert_holds_exactly(0)


@pytest.mark.parametrize("process", ["agent", "conductor", "api"])
def test_a_process_that_dies_is_started_again(victim: Victim, process: str) -> None:
    victim.cloud.down("--keep-guests")
    victim.cloud.up()
    os.kill(victim.cloud.children[["agent", "conductor", "api"].index(process)], signal.SIGKILL)

    def answers() -> bool:
        try:
            return victim.compute.get("/servers").status_code == 200
        except Exception:
            return False

    eventually(answers, 20, "the APIs' return")
    server_id = victim.boot()
    assert victim.settled(server_id).status == "ACTIVE"
    victim.compute.delete_server(server_id)
    victim.gone(server_id)
    victim.assert_holds_exactly(0)


@pytest.mark.parametrize("back", [True, False])
def test_guests_are_ended_by_an_agent_that_died_before(victim: Victim, back: bool) -> None:
    """Also by one that is not there again yet when the cloud is to stop."""
    server_id = victim.boot()
    assert victim.settled(server_id).status == "ACTIVE"
    [guest] = victim.guests()
    os.kill(victim.cloud.children[0], signal.SIGKILL)
    if back:
        eventually(
            lambda: victim.cloud.log().rpartition("starting it again")[2].count("agent: ready"), 60, "its return"
        )
    victim.cloud.down()
    assert int(guest.read_text()) == PowerState.SHUTDOWN
    victim.cloud.up()
    victim.compute.delete_server(server_id)
    victim.gone(server_id)
    victim.assert_holds_exactly(0)
