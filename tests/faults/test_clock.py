"""A clock that is set by hours amid a move: of a replica, or of an agent. Everything in its processes sees it, OpenSSL
and the databases' libraries too.

ALL_FAULTS=1 sets one at every step of every flow; otherwise there is a sample.
"""

from __future__ import annotations

import itertools
import os
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest

from tests.faults.moving import HOST, Case, Moving
from tests.postgres import Postgres
from tests.steps import STEPS
from tests.support import CloudUnderTest, eventually

SOURCE = Path(__file__).with_name("stepped_clock.c")
HOUR_S = 3600
SAMPLE = [
    (Case("resize", "control", "move server:after", "clock"), 5),
    (Case("live", "host", "migrate guest:before", "clock"), -5),
    (Case("evacuate", "control", "fence source:after", "clock"), -5),
]
EVERY = [
    (Case(flow, where, f"{point}:{end}", "clock"), hours)
    for where, steps in (("control", STEPS), ("host", HOST))
    for flow in steps
    for point, end, hours in itertools.product(steps[flow], ("before", "after"), (5, -5))
]


def step(part: CloudUnderTest, seconds: int) -> None:
    """Set the wall clock of a part of the cloud."""
    with open(part.state / "clock", "r+b") as file:
        file.write(struct.pack("l", seconds))


@pytest.fixture(scope="module")
def world(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Moving]:
    library = tmp_path_factory.mktemp("clock") / "clock.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", str(library), str(SOURCE)], check=True)
    made = Moving(postgres)
    try:
        for part in (*made.cloud.replicas, *made.cloud.agents):
            part.kill()
            (part.state / "clock").write_bytes(struct.pack("l", 0))
            part.up(LD_PRELOAD=str(library), CLOCK_STEP=str(part.state / "clock"))
            for pid in part.children:
                assert str(part.state / "clock") in Path(f"/proc/{pid}/maps").read_text(), "its clock is that"
        yield made
    finally:
        made.remove()


def test_a_replica_tells_the_time_that_its_clock_is_set_to(world: Moving) -> None:
    part = world.cloud.replicas[0]

    def told() -> float:
        answer = world.cloud.first.session.get(f"http://127.0.0.1:{part.port}/identity", authenticated=False)
        return parsedate_to_datetime(answer.headers["date"]).timestamp()

    try:
        for hours in (5, -5):
            step(part, hours * HOUR_S)
            eventually(lambda hours=hours: abs(told() - time.time() - hours * HOUR_S) < HOUR_S / 2, 60, "its date")
    finally:
        step(part, 0)


@pytest.mark.parametrize(("case", "hours"), EVERY if os.environ.get("ALL_FAULTS") else SAMPLE, ids=str)
def test_a_move_in_which_a_clock_is_set(world: Moving, case: Case, hours: int) -> None:
    def strike(part: CloudUnderTest) -> Callable[[], None]:
        step(part, hours * HOUR_S)
        return lambda: None

    try:
        world.play(case, strike)
    finally:
        for part in (*world.cloud.replicas, *world.cloud.agents):
            step(part, 0)
