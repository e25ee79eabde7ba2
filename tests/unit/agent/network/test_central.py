"""OVN's central over a change of release."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pileus.agent.network.central import Central
from tests.support import eventually

Start = Callable[[tuple[str, ...]], "subprocess.Popen[bytes]"]


@pytest.fixture
def central(tmp_path: Path) -> Central:
    return Central(tmp_path, None, None)


@pytest.fixture
def start(tmp_path: Path, central: Central) -> Iterator[Start]:
    """Starts what looks like the northbound database's server, with these arguments."""
    program = tmp_path / "ovsdb-server"
    program.write_text(f"#!{sys.executable} -S\nimport time\nprint(flush=True)\ntime.sleep(600)\n")
    program.chmod(0o755)
    started: list[subprocess.Popen[bytes]] = []

    def begin(arguments: tuple[str, ...]) -> subprocess.Popen[bytes]:
        process = subprocess.Popen([str(program), *arguments], stdout=subprocess.PIPE)
        started.append(process)
        assert process.stdout is not None and process.stdout.readline()  # it has its name by now
        central.daemons[0].pidfile.write_text(f"{process.pid}\n")
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def test_a_database_that_an_earlier_release_started_is_started_again(central: Central, start: Start) -> None:
    """It listens to nobody elsewhere, and has no options by which it could be told to."""
    server = central.daemons[0]
    former = start(tuple(one for one in server.arguments if "OVN_Northbound" not in one))
    assert server.pid() == former.pid and not server.is_as_told()
    central.renew_outdated()
    assert server.pid() is None
    eventually(lambda: former.poll() is not None, 30, "its end")


def test_a_database_of_this_release_goes_on(central: Central, start: Start) -> None:
    server = central.daemons[0]
    process = start(server.arguments)
    assert server.is_as_told()
    central.renew_outdated()
    assert server.pid() == process.pid and process.poll() is None
