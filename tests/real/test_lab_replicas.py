"""`pileus lab` with two replicas: either does what the other one was asked for, over one database and one OVN."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pileus.agent.daemons import lives
from pileus.settings import load
from pileus.statedir import locked
from tests.real.lab import NEEDS_LAB, PILEUS, Lab
from tests.real.ovn_world import sh
from tests.support import eventually

pytestmark = NEEDS_LAB


def test_a_lab_that_is_half_made_is_removed() -> None:
    """Whoever made it was killed: what it had begun goes on to start meanwhile."""
    state = Path(tempfile.mkdtemp(prefix="pileus-lab-", dir="/var/tmp"))
    state.rmdir()
    options = ("--hosts", "2", "--replicas", "2", "--hypervisor", "fake", "--state", str(state))
    with subprocess.Popen([*PILEUS, "lab", "up", *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as making:
        eventually(lambda: locked(load(str(state / "host-1"))), 120, "the start of the first host")
        making.kill()
        done = subprocess.run(
            [*PILEUS, "lab", "down", "--state", str(state)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    assert "pileus-lab" not in sh("ip", "netns") and not state.exists()
    look = ["pgrep", "-f", str(state)]
    eventually(lambda: subprocess.run(look, check=False, capture_output=True).returncode == 1, 30, "no process")


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """What clients ask is asked of the second replica."""
    made = Lab("--replicas", "2")
    try:
        made.user = made.credentials("replica-2")
        made.furnish()
        yield made
    finally:
        made.remove()


def logical_ports(lab: Lab) -> list[str]:
    """The ports of guests in the northbound database."""
    socket = f"--db=unix:{lab.state}/host-1/agent/ovn/ovnnb_db.sock"
    found = sh(
        "ovn-nbctl", socket, "--bare", "--no-headings", "--columns=name", "find", "Logical_Switch_Port", 'type=""'
    )
    return found.split()


def test_each_replica_is_told_how_to_use(lab: Lab) -> None:
    assert lab.user["OS_AUTH_URL"] == "http://10.77.0.102:8780/identity"
    assert "http://10.77.0.1:8780, http://10.77.0.102:8780" in lab.said
    for place in ("host-1", "replica-2"):
        assert f"--state {lab.state}/{place})" in lab.said
        said = lab.pileus("status", state=lab.state / place)
        assert "hosts      2, 2 up" in said and "running, pid" in said


def test_a_server_outlives_the_replica_beside_it(lab: Lab) -> None:
    """It is made through the second replica, and deleted through it when the first one, with OVN's central beside it,
    was killed."""
    lab.boot("a", "lab-2", "10.20.0.11")
    assert lab.shown("a")["OS-EXT-SRV-ATTR:host"] == "lab-2"
    eventually(lambda: len(logical_ports(lab)) == 1, 60, "its port in OVN")
    assert "fetch image" in lab.pileus("trace", "a", state=lab.state / "replica-2")
    killed = int((lab.state / "host-1" / "pileus.pid").read_text())
    os.kill(killed, signal.SIGKILL)
    eventually(lambda: not lives(killed), 30, "its end")
    lab.openstack("server", "delete", "--wait", "a")
    eventually(lambda: logical_ports(lab) == [], 90, "the end of its port: the second replica reaches the database")
    instances = lab.state / "host-2" / "agent" / "instances"
    eventually(lambda: [one.name for one in instances.iterdir()] == [], 60, "the end of the guest")
    status = lab.pileus("status", state=lab.state / "replica-2")
    assert "servers    none" in status and "operations 0 under way" in status
