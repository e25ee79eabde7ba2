"""What a lab runs fails with words for whoever asked."""

from __future__ import annotations

import itertools

import pytest

from pileus.lab import LabFailed
from pileus.lab.programs import run, wait_until


def test_what_a_program_printed_is_returned() -> None:
    assert run("sh", "-c", "pwd; echo $WORD", env={"WORD": "word"}, cwd="/") == "/\nword\n"


def test_a_program_that_fails_is_told_with_what_it_said() -> None:
    with pytest.raises(LabFailed, match=r"^sh -c echo no >&2; false: no$"):
        run("sh", "-c", "echo no >&2; false")


def test_a_program_that_is_not_there_is_told() -> None:
    with pytest.raises(LabFailed, match=r"^pileus-nothing: No such file"):
        run("pileus-nothing")


def test_what_is_waited_for_comes_or_not() -> None:
    looks = itertools.count()
    wait_until(lambda: next(looks) == 3, 600, "never")
    with pytest.raises(LabFailed, match="it did not come"):
        wait_until(lambda: False, 0.02, "it did not come")
