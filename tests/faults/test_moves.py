"""Moves between hosts of different agents while something fails: every flow ends, and nothing is left over.

ALL_FAULTS=1 tries every fault at every step of every flow; otherwise there is a sample. With real guests:
tests/real/test_lab_faults.py.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.faults.moving import EVERY, Case, Moving
from tests.postgres import Postgres

SAMPLE = [
    Case("resize", "control", "move server:after", "kill"),
    Case("resize", "host", "set disk aside:before", "kill"),
    Case("resize", "host", "copy disk:before", "cut"),
    Case("resize", "control", "finish on destination:after", "restart the database"),
    Case("confirm", "host", "destroy guest:after", "kill"),
    Case("revert", "control", "move back:before", "restart the database"),
    Case("revert", "host", "restore disk:after", "kill"),
    Case("shelve", "control", "discard guest:after", "cut"),
    Case("unshelve", "host", "define guest:before", "kill"),
    Case("live", "host", "migrate guest:before", "kill"),
    Case("live", "control", "migrate:after", "kill"),
    Case("live", "host", "running:before", "cut"),
    Case("evacuate", "control", "fence source:after", "kill"),
    Case("evacuate", "host", "running:before", "kill"),
]


@pytest.fixture(scope="module")
def world(postgres: Postgres) -> Iterator[Moving]:
    made = Moving(postgres)
    yield made
    made.remove()


@pytest.mark.parametrize("case", EVERY if os.environ.get("ALL_FAULTS") else SAMPLE, ids=str)
def test_a_move_in_which_something_fails(world: Moving, case: Case) -> None:
    if case.fault == "cut" and os.geteuid() != 0:
        pytest.skip("to cut a link needs root")
    world.play(case)
