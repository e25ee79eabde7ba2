"""The lab's PostgreSQL, for real."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pileus.agent.daemons import lives
from pileus.lab.database import LabDatabase
from tests.support import eventually

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not list(Path("/usr/lib/postgresql").glob("*/bin/postgres")), reason="needs root, PostgreSQL"
)


@pytest.fixture
def database() -> Iterator[LabDatabase]:
    with tempfile.TemporaryDirectory(prefix="pileus-lab-", dir="/var/tmp") as folder:
        os.chmod(folder, 0o755)
        made = LabDatabase(Path(folder) / "database")
        try:
            made.make()
            yield made
        finally:
            made.stop()


def test_one_that_was_killed_is_started_again_at_once(database: LabDatabase) -> None:
    """Its process is there as long as its parent has not asked for its end, which pid 1 may do late."""
    first = database.pid()
    assert first is not None
    database.start()
    assert database.pid() == first, "it runs"
    os.kill(first, signal.SIGKILL)
    eventually(lambda: not lives(first), 30, "its end")
    database.start()
    assert database.pid() not in (None, first)
