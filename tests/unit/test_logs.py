"""The log: nobody outside writes lines of his own into it, or fills the disk with it."""

from __future__ import annotations

import errno
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from pileus import logs

RECORD = re.compile(r"\d{4}-\d\d-\d\d .* (INFO|ERROR|WARNING) test: ")


@pytest.fixture
def log(tmp_path: Path) -> Iterator[logging.Logger]:
    descriptor = os.open(tmp_path / "log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    logger = logging.Logger("test")
    logger.addHandler(logs.Appender(descriptor))
    yield logger
    os.close(descriptor)


def lines(tmp_path: Path) -> list[str]:
    return (tmp_path / "log").read_text().split("\n")[:-1]


@pytest.mark.parametrize(
    "hostile",
    [
        "a\n2026-11-21 12:00:00 1 ERROR root: forged",
        "\x1b[2J\x1b]0;title\x07",
        "a\rb",
        "\x85\u2028\u2029",
        "\u202eabc",
        "\ud800",
    ],
)
def test_what_is_not_printable_is_escaped(log: logging.Logger, tmp_path: Path, hostile: str) -> None:
    log.error("GET %s failed", hostile)
    (line,) = lines(tmp_path)
    assert RECORD.match(line) and line.isprintable()


def test_a_line_has_an_end(log: logging.Logger, tmp_path: Path) -> None:
    """One request with 3,000 tags once wrote 239 kB."""
    log.error("failed: %s", "x" * 239_000)
    (line,) = lines(tmp_path)
    assert len(line) < 2 * logs.MESSAGE_CHARS and "(237" in line


def raise_in(log: logging.Logger, text: str) -> None:
    try:
        raise ValueError(text)
    except ValueError:
        log.exception("POST /x failed")


def test_a_traceback_forges_no_record_and_has_an_end(log: logging.Logger, tmp_path: Path) -> None:
    raise_in(log, "a\n2026-11-21 12:00:00 1 ERROR test: forged\n" + "x" * 500_000)
    first, *rest = lines(tmp_path)
    assert RECORD.match(first) and all(line.startswith("  | ") for line in rest)
    assert sum(map(len, lines(tmp_path))) < 2 * logs.TRACEBACK_CHARS


def test_the_same_traceback_is_shown_a_few_times(
    log: logging.Logger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(100):
        raise_in(log, f"{number}")
    found = lines(tmp_path)
    assert sum(RECORD.match(line) is not None for line in found) == 100, "each is told of"
    assert sum("Traceback" in line for line in found) == logs.SAME_TRACEBACKS
    assert found[-1].endswith("[ValueError: 99; traceback as before]")
    monkeypatch.setattr(logs, "SAME_S", -1.0)
    raise_in(log, "later")
    assert any("Traceback" in line for line in lines(tmp_path)[len(found) :])


def test_arguments_that_do_not_fit(log: logging.Logger, tmp_path: Path) -> None:
    log.info("%d servers", "many")
    assert "%d servers" in lines(tmp_path)[0]


def test_rotation(log: logging.Logger, tmp_path: Path) -> None:
    """Whoever has the log open writes on in the new one; so many old ones are kept."""
    path = tmp_path / "log"
    for number in range(5):
        log.info("round %d", number)
        assert logs.rotate(path, 10, 3) and path.stat().st_size == 0
    assert not logs.rotate(path, 10, 3)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["log", "log.1", "log.2", "log.3"]
    assert ["round 4" in (tmp_path / "log.1").read_text(), "round 2" in (tmp_path / "log.3").read_text()] == [
        True,
        True,
    ]
    assert (tmp_path / "log.1").stat().st_mode & 0o777 == 0o600
    log.info("on")
    assert len(lines(tmp_path)) == 1


def test_rotation_keeps_none(log: logging.Logger, tmp_path: Path) -> None:
    log.info("a line")
    assert logs.rotate(tmp_path / "log", 1, 0) and os.listdir(tmp_path) == ["log"]


def test_a_log_that_cannot_be_copied_costs_no_older_one(
    log: logging.Logger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "log"
    for number in range(3):
        log.info("round %d", number)
        assert number == 2 or logs.rotate(path, 10, 2)
    before = {one.name: one.read_text() for one in tmp_path.iterdir()}

    def full(*_arguments: object) -> bytes:
        raise OSError(errno.ENOSPC, "full")

    with monkeypatch.context() as patched:
        patched.setattr(logs.os, "read", full)
        for _ in range(3):
            assert not logs.rotate(path, 10, 2)
    assert {one.name: one.read_text() for one in tmp_path.iterdir()} == before
    assert logs.rotate(path, 10, 2) and "round 2" in (tmp_path / "log.1").read_text()
