"""A host whose disk is full, or whose agent does not answer for a while."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.api.conftest import FAKE
from tests.faults.conftest import Victim
from tests.support import CloudUnderTest, eventually


@pytest.fixture
def on_a_small_disk(new_database: Callable[[], str | None]) -> Iterator[Victim]:
    """A cloud whose agent keeps its state on a file system of 4 MiB."""
    cloud = CloudUnderTest(new_database(), *FAKE, "--fake-hosts", "2")
    disk = cloud.state / "agent"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "pileus-test", str(disk)], check=True)
    try:
        yield Victim(cloud)
    finally:
        cloud.down()
        subprocess.run(["umount", "--lazy", str(disk)], check=True)
        cloud.remove()


@contextmanager
def full(disk: Path) -> Iterator[None]:
    """Nothing more can be written while the block runs."""
    filler = disk / "filler"
    with open(filler, "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass
    yield
    filler.unlink()


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
def test_a_full_disk_loses_nothing_and_stops_nothing(on_a_small_disk: Victim) -> None:
    victim = on_a_small_disk
    first = victim.boot()
    assert victim.settled(first).status == "ACTIVE"
    with full(victim.cloud.state / "agent"):
        during = [victim.boot() for _ in range(5)]
        victim.compute.stop_server(first)
        eventually(lambda: "cannot be" in victim.cloud.log(), 30, "the agent's complaint")
    for server_id in (first, *during):
        assert victim.settled(server_id).status in ("ACTIVE", "SHUTOFF", "ERROR")
    after = victim.boot()
    assert victim.settled(after).status == "ACTIVE", "the agent's workers live"
    for server_id in (first, *during, after):
        victim.compute.delete_server(server_id)
        victim.gone(server_id)
    victim.assert_holds_exactly(0)


def test_an_agent_that_is_silent_for_a_while_is_waited_for(victim: Victim) -> None:
    victim.cloud.down("--keep-guests")
    victim.cloud.up()
    agent = victim.cloud.children[0]
    os.kill(agent, signal.SIGSTOP)
    try:
        servers = [victim.boot() for _ in range(3)]
        victim.compute.delete_server(servers[0])
        sent = "SELECT count(*) FROM operation_steps WHERE outcome = 'begun'"
        eventually(lambda: victim.cloud.query(sent)[0][0] >= 2, 30, "the builds' being sent")
    finally:
        os.kill(agent, signal.SIGCONT)
    victim.gone(servers[0])
    for server_id in servers[1:]:
        assert victim.settled(server_id).status == "ACTIVE"
    victim.assert_holds_exactly(2)
    for server_id in servers[1:]:
        victim.compute.delete_server(server_id)
        victim.gone(server_id)
    victim.assert_holds_exactly(0)
