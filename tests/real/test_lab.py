"""`pileus lab`: two hosts on this machine, with real guests that meet, as whoever types the commands has it."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real.lab import INSIDE, NEEDS_LAB, Lab
from tests.real.ovn_world import sh
from tests.support import eventually

pytestmark = NEEDS_LAB
PROBE = """#!/bin/sh
( while :; do ping -c 1 -W 2 10.20.0.11 > /dev/null 2>&1 && echo "probe: yes;" > /dev/console; sleep 1; done ) &
"""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    made = Lab()
    try:
        made.furnish()
        yield made
    finally:
        made.remove()


def test_hosts_have_joined(lab: Lab) -> None:
    assert 'eval "$(' in lab.said and " ".join(INSIDE) in lab.said
    found = lab.openstack("hypervisor", "list", "-f", "json")
    assert {(one["Hypervisor Hostname"], one["Host IP"], one["State"]) for one in found} == {
        ("lab-1", "10.77.0.1", "up"), ("lab-2", "10.77.0.2", "up"),
    }  # fmt: skip
    assert "of cloud" in lab.pileus("status", state=lab.state / "host-2")


def test_guests_on_two_hosts_meet(lab: Lab, tmp_path: Path) -> None:
    script = tmp_path / "probe.sh"
    script.write_text(PROBE)
    lab.boot("a", "lab-1", "10.20.0.11")
    lab.boot("b", "lab-2", "10.20.0.12", "--user-data", str(script))
    assert lab.shown("b")["OS-EXT-SRV-ATTR:host"] == "lab-2"
    eventually(lambda: "probe: yes;" in lab.openstack("console", "log", "show", "b"), 120, "a's answer to b")
    assert "fetch image" in lab.pileus("trace", "b", state=lab.state / "host-1"), "it came over the agent's connection"


def test_a_server_goes_to_another_host_and_back_as_it_runs(lab: Lab) -> None:
    """It keeps its memory: what it began goes on, and reaches the other server from both hosts."""
    for host in ("lab-1", "lab-2"):
        lab.openstack("--os-compute-api-version", "2.56", "server", "migrate", "--live-migration", "--wait", "b")
        eventually(lambda: lab.shown("b")["status"] == "ACTIVE", 120, "its arrival")
        assert lab.shown("b")["OS-EXT-SRV-ATTR:host"] == host, lab.pileus("trace", "b", state=lab.state / "host-1")
        eventually(lambda: "probe: yes;" in lab.openstack("console", "log", "show", "b"), 120, "a's answer to b")
        assert "login:" not in lab.openstack("console", "log", "show", "b"), "it was not started anew"
    assert [one.name for one in (lab.state / "host-1" / "agent" / "instances").iterdir()] == [lab.shown("a")["id"]]


def test_a_server_moves_to_another_host_and_back(lab: Lab) -> None:
    """Its disk goes from agent to agent; the move is confirmed, the next one reverted."""
    lab.openstack("server", "migrate", "--wait", "b")
    assert (lab.shown("b")["status"], lab.shown("b")["OS-EXT-SRV-ATTR:host"]) == ("VERIFY_RESIZE", "lab-1")
    assert "copy disk" in lab.pileus("trace", "b", state=lab.state / "host-1")
    lab.openstack("server", "migrate", "confirm", "b")
    eventually(lambda: lab.shown("b")["status"] == "ACTIVE", 60, "its being confirmed")
    assert [one.name for one in (lab.state / "host-2" / "agent" / "instances").iterdir()] == []
    eventually(
        lambda: "login:" in lab.openstack("console", "log", "show", "b"), 120, "its boot from the disk that it had"
    )
    lab.openstack("server", "resize", "--flavor", "m1.micro", "--wait", "b")
    assert lab.shown("b")["OS-EXT-SRV-ATTR:host"] == "lab-2"
    lab.openstack("server", "resize", "revert", "b")
    eventually(lambda: lab.shown("b")["status"] == "ACTIVE", 60, "its being as before")
    assert lab.shown("b")["OS-EXT-SRV-ATTR:host"] == "lab-1" and "m1.nano" in str(lab.shown("b")["flavor"])


def test_a_server_on_another_host_leaves_it_and_comes_back(lab: Lab) -> None:
    """What it is comes to the control plane as an image, and goes from there to a host on another machine."""
    lab.openstack("server", "shelve", "--wait", "b")
    eventually(lambda: lab.shown("b")["status"] == "SHELVED_OFFLOADED", 60, "its leaving")
    lab.openstack("--os-compute-api-version", "2.91", "server", "unshelve", "--host", "lab-2", "b")
    eventually(lambda: lab.shown("b")["status"] == "ACTIVE", 120, "its coming back")
    assert lab.shown("b")["OS-EXT-SRV-ATTR:host"] == "lab-2"
    lab.openstack("server", "delete", "--wait", "a", "b")
    assert [one.name for one in (lab.state / "host-2" / "agent" / "instances").iterdir()] == []


def processes(namespace: str, *programs: str) -> list[int]:
    """Those of a host that run one of these programs."""
    found = [int(one) for one in sh("ip", "netns", "pids", namespace).split()]
    names = {pid: Path(f"/proc/{pid}/cmdline") for pid in found}
    return [
        pid
        for pid, path in names.items()
        if path.exists() and Path(path.read_bytes().split(b"\0")[0].decode()).name.startswith(programs)
    ]


def die(pid: int) -> None:
    """kill -9, unless it is dead."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def test_a_server_leaves_a_dead_host_and_answers_elsewhere(lab: Lab, tmp_path: Path) -> None:
    script = tmp_path / "probe.sh"
    script.write_text(PROBE)
    lab.boot("d", "lab-2", "10.20.0.11")
    lab.boot("e", "lab-1", "10.20.0.12", "--user-data", str(script))

    def answers() -> int:
        return str(lab.openstack("console", "log", "show", "e")).count("probe: yes;")

    eventually(answers, 120, "d's answer to e")
    die(int((lab.state / "host-2" / "pileus.pid").read_text()))
    for pid in processes("pileus-lab-2", "libvirtd", "qemu"):
        die(pid)
    eventually(lambda: not processes("pileus-lab-2", "libvirtd", "qemu"), 30, "the host's death")
    lab.openstack("compute", "service", "set", "--down", "lab-2", "nova-compute")
    lab.openstack("--os-compute-api-version", "2.29", "server", "evacuate", "d")
    eventually(
        lambda: (lab.shown("d")["status"], lab.shown("d")["OS-EXT-SRV-ATTR:host"]) == ("ACTIVE", "lab-1"),
        180,
        "its being elsewhere",
    )
    before = answers()
    eventually(lambda: answers() > before, 180, "its answer under the address that it had")
    assert [one.name for one in (lab.state / "host-2" / "agent" / "instances").iterdir()] != []
    lab.pileus("agent", "--detach", state=lab.state / "host-2")
    lab.openstack("compute", "service", "set", "--up", "lab-2", "nova-compute")
    instances = lab.state / "host-2" / "agent" / "instances"
    eventually(lambda: not list(instances.iterdir()), 120, "the discarding of what the dead host has")
    assert processes("pileus-lab-2", "qemu") == [] and lab.shown("d")["status"] == "ACTIVE"
    lab.openstack("server", "delete", "--wait", "d", "e")
