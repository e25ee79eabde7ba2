"""Hold points: where a thread stands until it is let go."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pileus import holds
from tests.support import eventually


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / holds.NAME).mkdir()
    holds.watch(tmp_path)
    yield tmp_path
    holds.watch(tmp_path / "none")


def test_the_first_who_comes_stands_until_he_is_let_go(state: Path) -> None:
    point = holds.Point(state, "copy disk:before")
    point.ask()
    went: list[str] = []

    def goes() -> None:
        holds.hold("copy disk:before")
        went.append("on")

    first = threading.Thread(target=goes)
    first.start()
    eventually(lambda: point.taken, 30, "somebody's standing there")
    holds.hold("copy disk:before")  # nobody else is held
    holds.hold("copy disk:after")
    assert went == []
    point.release()
    first.join(30)
    assert went == ["on"]


def test_a_point_that_nobody_came_to_is_taken_back(state: Path) -> None:
    point = holds.Point(state, "schedule:before")
    point.ask()
    point.release()
    holds.hold("schedule:before")
    assert not point.taken and list((state / holds.NAME).iterdir()) == []


def test_nothing_is_made_where_a_link_leads(state: Path) -> None:
    """The folder is the replicas' user's, and root asks for points (`pileus lab fault --at`)."""
    (state / "roots").mkdir()
    (state / holds.NAME / "schedule:before").symlink_to(state / "roots" / "cron")
    with pytest.raises(FileExistsError):
        holds.Point(state, "schedule:before").ask()
    (state / "other").mkdir()
    (state / "other" / holds.NAME).symlink_to(state / "roots")
    with pytest.raises(OSError):
        holds.Point(state / "other", "schedule:before").ask()
    assert list((state / "roots").iterdir()) == []


def test_who_may_be_held_says_so(state: Path, caplog: pytest.LogCaptureFixture) -> None:
    holds.watch(state / "none")
    holds.warn()
    assert caplog.text == ""
    holds.watch(state)
    holds.warn()
    assert str(state / holds.NAME) in caplog.text


def test_without_the_folder_nobody_can_be_held(tmp_path: Path) -> None:
    holds.watch(tmp_path)
    holds.hold("schedule:before")
    with pytest.raises(OSError):
        holds.Point(tmp_path, "schedule:before").ask()
