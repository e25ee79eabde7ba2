"""Power: by the API, and by the guest itself."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

import pytest

from tests.real.cloud.real import RealCloud
from tests.support import eventually

DOWN = "tiny: shutting down"
UP = "tiny: cloud done"


@pytest.fixture(scope="module")
def server(cloud: RealCloud) -> Iterator[str]:
    server = cloud.boot("power")
    cloud.settled(server)
    cloud.says(server, UP)
    yield server
    cloud.delete(server)
    cloud.assert_nothing_left()


def _count(cloud: RealCloud, server: str, marker: str) -> int:
    return cloud.console(server).count(marker)


def test_stop_is_clean(cloud: RealCloud, server: str) -> None:
    cloud.demo.compute.stop_server(server)
    assert cloud.settled(server, "SHUTOFF").power_state == 4
    assert DOWN in cloud.console(server)
    assert not cloud.processes(f"-uuid {server}")


def test_start(cloud: RealCloud, server: str) -> None:
    ups = _count(cloud, server, UP)
    cloud.demo.compute.start_server(server)
    assert cloud.settled(server).power_state == 1
    cloud.says(server, UP, ups + 1)


def test_soft_reboot_asks_the_guest(cloud: RealCloud, server: str) -> None:
    ups, downs = _count(cloud, server, UP), _count(cloud, server, DOWN)
    cloud.demo.compute.reboot_server(server, "SOFT")
    cloud.settled(server)
    assert _count(cloud, server, DOWN) == downs + 1
    cloud.says(server, UP, ups + 1)


def test_hard_reboot_does_not(cloud: RealCloud, server: str) -> None:
    ups, downs, before = _count(cloud, server, UP), _count(cloud, server, DOWN), cloud.qemu(server)
    cloud.demo.compute.reboot_server(server, "HARD")
    cloud.settled(server)
    assert cloud.qemu(server) != before
    cloud.says(server, UP, ups + 1)
    assert _count(cloud, server, DOWN) == downs


def test_a_pressed_button_turns_the_server_off(cloud: RealCloud, server: str) -> None:
    """Not by a command of ours: the host sees the guest go."""
    cloud.virsh("shutdown", server, "--mode", "acpi")
    cloud.becomes(server, "SHUTOFF")
    assert cloud.settled(server, "SHUTOFF").power_state == 4
    cloud.demo.compute.start_server(server)
    cloud.settled(server)


def test_a_guest_turns_itself_off(cloud: RealCloud) -> None:
    server = cloud.boot("short", "poweroff")
    cloud.becomes(server, "SHUTOFF")
    assert DOWN in cloud.console(server)
    cloud.demo.compute.start_server(server)
    cloud.settled(server)
    cloud.delete(server)


def test_a_guest_that_is_killed_is_off(cloud: RealCloud, server: str) -> None:

    os.kill(cloud.qemu(server), signal.SIGKILL)
    cloud.becomes(server, "SHUTOFF")
    cloud.demo.compute.reboot_server(server, "HARD")
    cloud.settled(server)


def test_delete_does_not_wait_for_a_guest_that_never_shuts_down(cloud: RealCloud) -> None:
    image = cloud.upload("deaf", bytes(1 << 20), "raw")
    server = cloud.boot("deaf", image_id=image)
    cloud.settled(server)
    cloud.demo.compute.stop_server(server)
    eventually(lambda: cloud.commanded(server, "server.stop"), 20, "the command to the host")
    began = time.monotonic()
    cloud.delete(server)
    assert time.monotonic() - began < 20
