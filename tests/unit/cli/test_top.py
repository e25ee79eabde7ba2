"""`pileus top`: a frame of it."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from pileus.cli.top import top
from tests.unit.nouns import Nouns
from tests.unit.operations.rows import add_operation


@pytest.fixture
def nouns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Nouns:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    made = Nouns(tmp_path)
    settings = made.serving.settings
    (settings.directory / "settings.json").write_bytes(msgspec.json.encode(settings))
    return made


def test_a_frame_is_printed(nouns: Nouns) -> None:
    add_operation(nouns.serving.db, "migrate", [("copy disk", "begun")])
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
