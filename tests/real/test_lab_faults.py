"""Moves of a real server between the hosts of a lab where something fails: in the end all is as it should be.

ALL_FAULTS=1 tries every case, with two replicas over PostgreSQL; otherwise there is a sample, with one.
"""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
from collections.abc import Iterator

import pytest

from tests.real.cloud.real import IMAGE
from tests.real.lab import PILEUS
from tests.real.lab_world import Case, LabWorld, play
from tests.real.ovn_world import inside
from tests.steps import STEPS

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not IMAGE.exists() or not all(map(shutil.which, ("libvirtd", "ovn-controller", "nft"))),
    reason="needs root, libvirt, OVN, nftables and the test image",
)
ALL = bool(os.environ.get("ALL_FAULTS"))
STAGES = {
    "live": {
        "source": ("migrate guest", "destroy guest"),
        "destination": ("prepare network", "create disk", "running"),
    },
    "evacuate": {"destination": ("prepare network", "create disk", "define guest", "running")},
}
"""Of the hosts' commands."""
WITH_QEMU = ("migrate guest:before", "define guest:after", "running:before", "running:after")
ENDS = ("before", "after")
PRODUCT = [
    *(
        Case(flow, f"{step}:{end}", "control", fault)
        for flow in STAGES
        for step, end, fault in itertools.product(STEPS[flow], ENDS, ("kill replica", "kill postgresql", "cut 5"))
    ),
    *(
        Case(flow, f"{stage}:{end}", where, fault)
        for flow, parts in STAGES.items()
        for where, stages in parts.items()
        for stage, end in itertools.product(stages, ENDS)
        for fault in ("kill agent", "kill libvirtd", "kill ovn-controller", "cut 5", "kill qemu")
        if fault != "kill qemu" or f"{stage}:{end}" in WITH_QEMU
    ),
]
CASES = [
    Case("migrate", "set disk aside", "source", "kill agent", often=True),
    Case("migrate", "define guest", "destination", "kill agent", often=True),
    Case("migrate", "copy disk", "destination", "cut 5", often=True),
    Case("migrate", "copy disk", "destination", "fill", often=True),
    Case("migrate", "power off", "source", "kill qemu", often=True),
    Case("migrate", "define guest", "destination", "kill libvirtd", often=True),
    Case("migrate", "prepare network", "destination", "kill ovn-controller", often=True),
    Case("migrate", "power off", "source", "kill agent"),
    Case("migrate", "power off:after", "source", "kill agent"),
    Case("migrate", "set disk aside:after", "source", "kill agent"),
    Case("migrate", "copy disk", "destination", "kill agent"),
    Case("migrate", "copy disk:after", "destination", "kill agent"),
    Case("migrate", "resize disk:after", "destination", "kill agent"),
    Case("migrate", "running", "destination", "kill agent"),
    Case("migrate", "running:after", "destination", "kill agent"),
    Case("migrate", "copy disk", "destination", "kill supervisor"),
    Case("migrate", "set disk aside", "source", "kill supervisor"),
    Case("migrate", "schedule", "control", "kill replica"),
    Case("migrate", "migrate disk and power off:after", "control", "kill replica"),
    Case("migrate", "move server:after", "control", "kill replica"),
    Case("migrate", "finish on destination:after", "control", "kill replica"),
    Case("migrate", "record state", "control", "kill replica"),
    Case("migrate", "power off", "source", "kill libvirtd"),
    Case("migrate", "running", "destination", "kill libvirtd"),
    Case("migrate", "running:after", "destination", "kill qemu"),
    Case("migrate", "record state", "control", "kill qemu there"),
    Case("migrate", "prepare network", "destination", "kill ovs-vswitchd"),
    Case("migrate", "prepare network", "destination", "kill ovsdb-server"),
    Case("migrate", "schedule:after", "control", "cut 5"),
    Case("migrate", "set disk aside", "source", "cut 5"),
    Case("migrate", "running", "destination", "cut 5"),
    Case("migrate", "copy disk", "destination", "cut 45"),
    Case("confirm", "destroy guest", "source", "kill agent"),
    Case("confirm", "destroy guest:after", "source", "cut 5"),
    Case("confirm", "begin confirm:after", "control", "kill replica"),
    Case("confirm", "begin confirm:after", "control", "cut 45"),
    Case("revert", "destroy guest", "destination", "kill agent"),
    Case("revert", "destroy guest", "destination", "kill libvirtd"),
    Case("revert", "restore disk:after", "source", "kill agent"),
    Case("revert", "define guest", "source", "kill libvirtd"),
    Case("revert", "running:after", "source", "kill agent"),
    Case("revert", "move back:after", "control", "kill replica"),
    Case("revert", "prepare network", "source", "kill ovn-controller"),
    Case("revert", "destroy guest:after", "destination", "cut 5"),
    Case("live", "migrate guest:during", "source", "kill qemu there", often=True),
    Case("live", "running", "destination", "kill agent", often=True),
    Case("evacuate", "define guest", "destination", "kill libvirtd", often=True),
    Case("live", "create disk", "destination", "fill"),
    Case("live", "migrate guest:during", "source", "kill qemu"),
    Case("live", "migrate guest:during", "source", "kill agent"),
    Case("live", "migrate guest:during", "source", "kill agent there"),
    Case("live", "migrate guest:during", "source", "kill libvirtd"),
    Case("live", "migrate guest:during", "source", "kill libvirtd there"),
    Case("live", "migrate guest:during", "source", "kill ovn-controller there"),
    Case("live", "migrate guest:during", "source", "kill ovs-vswitchd there"),
    Case("live", "migrate guest:during", "source", "kill supervisor"),
    Case("live", "migrate guest:during", "source", "cut 5"),
    Case("live", "migrate guest:during", "source", "cut 45"),
    Case("live", "migrate guest:during", "source", "fill there"),
    Case("live", "migrate guest:during", "source", "kill postgresql"),
    Case("evacuate", "create disk", "destination", "fill"),
    Case("evacuate", "create disk", "destination", "cut 5"),
    *PRODUCT,
]


@pytest.fixture(scope="module")
def world() -> Iterator[LabWorld]:
    made = LabWorld(replicas=2 if ALL else 1)
    try:
        with inside("pileus-lab-1"):
            made.connect()
            yield made
    finally:
        made.remove()


@pytest.mark.parametrize("case", [one for one in CASES if ALL or one.often], ids=str)
def test_a_move_in_which_something_fails(world: LabWorld, case: Case) -> None:
    play(world, case)


def test_the_command_line_makes_faults(world: LabWorld) -> None:
    """What the other tests call is what users type."""
    world.at_rest()
    state = ("--state", str(world.lab.state))
    argv = [*PILEUS, "lab", "fault", "kill", "lab-1", "replica", "--at", "schedule", "--on", "lab-1", *state]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as waiting:
        try:
            assert waiting.stdout is not None
            assert waiting.stdout.readline() == "waiting for schedule\n"
            world.asked("migrate")
            assert waiting.stdout.readline() == "begun on lab-1\n"
            assert waiting.wait(60) == 0
        finally:
            waiting.kill()
    world.at_rest()
    done = subprocess.run(
        [*PILEUS, "lab", "fault", "cut", "lab-9", *state], check=False, capture_output=True, text=True
    )
    assert done.returncode == 1 and "lab-1, lab-2" in done.stderr
    said = subprocess.run([*PILEUS, "lab", "fault", "--help"], check=True, capture_output=True, text=True).stdout
    assert all(name in said for name in ("cut", "slow", "kill", "pause", "fill", "heal"))
