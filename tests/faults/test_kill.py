"""kill -9 at every step of boot and delete: the operation finishes or is undone, and nothing is left over."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.faults.conftest import Victim
from tests.support import eventually

IN_THE_REPLICA = ("schedule", "allocate network", "build guest", "activate")
ON_THE_HOST = (
    "wire port",
    "fetch image",
    "inspect and convert image",
    "create disk",
    "console",
    "define guest",
    "running",
)
OF_DELETE = ("find host", "discard guest", "destroy guest", "unplug port", "release")


def _points(*steps: str) -> list[str]:
    return [f"{step}:{when}" for step in steps for when in ("before", "after")]


@pytest.mark.parametrize("point", _points(*IN_THE_REPLICA, *ON_THE_HOST))
def test_boot_survives_kill(victim: Victim, point: str) -> None:
    victim.restart_holding_at(point)
    server_id = victim.boot()
    victim.kill_when_held()
    assert victim.settled(server_id).status == "ACTIVE"
    victim.assert_holds_exactly(1)
    victim.compute.delete_server(server_id)
    victim.gone(server_id)
    victim.assert_holds_exactly(0)


@pytest.mark.parametrize("point", _points(*OF_DELETE))
def test_delete_survives_kill(victim: Victim, point: str) -> None:
    victim.restart_holding_at(point)
    server_id = victim.boot()
    assert victim.settled(server_id).status == "ACTIVE"
    victim.compute.delete_server(server_id)
    victim.kill_when_held()
    victim.gone(server_id)
    victim.assert_holds_exactly(0)


@pytest.mark.parametrize("point", _points(*IN_THE_REPLICA[1:3], "define guest"))
def test_delete_wins_over_a_boot_that_was_killed(victim: Victim, point: str) -> None:
    victim.restart_holding_at(point)
    server_id = victim.boot()
    eventually(victim.held.exists, 30, "the hold point")
    victim.compute.delete_server(server_id)
    victim.cloud.kill()
    victim.cloud.up()
    victim.gone(server_id)
    victim.assert_holds_exactly(0)


@pytest.mark.parametrize("process", ["agent", "replica"])
def test_a_process_that_dies_is_started_again(victim: Victim, process: str) -> None:
    victim.cloud.down("--keep-guests")
    victim.cloud.up()
    supervisor = victim.cloud.pid
    children = [int(one) for one in Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()]
    os.kill(children[0 if process == "agent" else 1], signal.SIGKILL)

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
