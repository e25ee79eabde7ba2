"""`pileus top`: what it reads, and a frame of it."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner
from sqlalchemy import update

from pileus.cli import overview
from pileus.cli.top import top
from pileus.compute.model import Host
from pileus.db import utcnow
from pileus.operations import OperationRow, debts
from pileus.operations.model import StepRow
from pileus.operations.owed import Owed
from tests.unit.nouns import Nouns


@pytest.fixture
def nouns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Nouns:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    made = Nouns(tmp_path)
    settings = made.serving.settings
    (settings.directory / "settings.json").write_bytes(msgspec.json.encode(settings))
    return made


def add_operation(nouns: Nouns, name: str, steps: list[tuple[str, str]], ended: bool = False) -> None:
    """One with steps and their outcomes; those that are under way began half an hour ago."""
    now = utcnow()
    before = now - timedelta(minutes=30)
    with nouns.serving.db.write() as session:
        values = {
            "state": "running",
            "arguments": {},
            "request_id": "r",
            "finished_at": now + timedelta(hours=1) if ended else None,
        }
        session.add(OperationRow(id=name, kind=name, subject_id=f"of-{name}", created_at=before, **values))
        session.flush()
        for position, (step, outcome) in enumerate(steps):
            done = None if outcome == "begun" else before
            row = {"name": step, "key": step, "outcome": outcome, "attempt": 1, "host": "h", "finished_at": done}
            session.add(StepRow(operation_id=name, position=position, started_at=before, **row))


def test_what_is_under_way_is_shown_with_its_step(nouns: Nouns) -> None:
    add_operation(nouns, "migrate", [("schedule", "finished"), ("copy", "begun")])
    add_operation(nouns, "boot", [("schedule", "finished")])
    add_operation(nouns, "stop", [("power off", "finished")], ended=True)
    with nouns.serving.db.write() as session:
        debts.owe(session, "h", "of-gone", Owed("discard", {}))
        session.execute(update(Host).values(last_seen=utcnow() - timedelta(minutes=5)))
    with nouns.serving.db.read() as session:
        found = overview.read(session, 10)
    assert {(one.kind, one.step) for one in found.work} == {("migrate", "copy"), ("boot", "after schedule")}
    assert (found.work_count, found.debt_count, found.up) == (2, 1, 0)
    assert found.per_s == 1 / overview.LATELY_S
    assert [one.state for one in found.hosts] == ["down"] * found.host_count and found.hosts[0].heard_s >= 299


def test_no_more_is_read_than_there_is_room_for(nouns: Nouns) -> None:
    for number in range(5):
        add_operation(nouns, f"boot-{number}", [])
    with nouns.serving.db.read() as session:
        found = overview.read(session, 2)
    assert (len(found.work), found.work_count) == (2, 5)


def test_a_frame_is_printed(nouns: Nouns) -> None:
    add_operation(nouns, "migrate", [("copy disk", "begun")])
    shown = CliRunner().invoke(top, ["--once", "--state", nouns.serving.settings.state])
    assert shown.exit_code == 0, shown
    assert (
        "1 operations under way" in shown.output
        and "copy disk" in shown.output
        and re.search(r"\b[34]\d min", shown.output)
    )
    assert "0 debts" in shown.output and " of " in shown.output


def test_without_a_terminal_it_must_be_once(nouns: Nouns) -> None:
    shown = CliRunner().invoke(top, ["--state", nouns.serving.settings.state])
    assert shown.exit_code == 2 and "--once" in shown.output
