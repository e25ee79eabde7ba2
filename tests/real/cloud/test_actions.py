"""Pause, suspend, rebuild, images of servers, interfaces: with a guest whose console tells whether it went on."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.real.cloud.real import RealCloud
from tests.support import eventually

TICKS = '(n=0; while sleep 1; do n=$((n + 1)); echo "tick $n" > /dev/console; done) &'
UP = "tiny: cloud done"


@pytest.fixture(scope="module")
def server(cloud: RealCloud) -> Iterator[str]:
    """A server that counts seconds on its console."""
    server = cloud.boot("acting", TICKS)
    cloud.settled(server)
    cloud.says(server, r"tick \d+", 2)
    yield server
    cloud.delete(server)
    cloud.assert_nothing_left()


def ticks(cloud: RealCloud, server: str) -> list[int]:
    return [int(one) for one in re.findall(r"^tick (\d+)\r?$", cloud.console(server), re.MULTILINE)]


def goes_on(cloud: RealCloud, server: str, last: int) -> None:
    """The guest counts on from where it was: it was not booted anew."""
    found = eventually(lambda: [one for one in ticks(cloud, server) if one > last], 60, "the guest to go on")
    assert found[0] == last + 1


def still(cloud: RealCloud, server: str) -> int:
    """The last tick of a guest that stands still."""
    before: list[int] = []

    def same() -> bool:
        nonlocal before
        now = ticks(cloud, server)
        before, same = now, now == before
        return same

    eventually(same, 30, "the guest to stand still")
    return before[-1]


def test_a_paused_guest_stands_still_and_goes_on(cloud: RealCloud, server: str) -> None:
    qemu = cloud.qemu(server)
    cloud.demo.compute.pause_server(server)
    assert cloud.settled(server, "PAUSED").power_state == 3
    assert "paused" in cloud.virsh("domstate", server)
    last = still(cloud, server)
    cloud.demo.compute.unpause_server(server)
    assert cloud.settled(server).power_state == 1
    goes_on(cloud, server, last)
    assert cloud.qemu(server) == qemu


def test_a_suspended_guest_goes_on_from_its_memory(cloud: RealCloud, server: str) -> None:
    cloud.demo.compute.suspend_server(server)
    assert cloud.settled(server, "SUSPENDED").power_state == 4
    assert not cloud.processes(f"-uuid {server}")
    last = ticks(cloud, server)[-1]
    cloud.demo.compute.resume_server(server)
    assert cloud.settled(server).power_state == 1
    goes_on(cloud, server, last)


def test_an_image_of_a_running_server_boots(cloud: RealCloud, server: str) -> None:
    made = cloud.demo.compute.create_server_image(server, "mine")
    image: Any = eventually(
        lambda: (one := cloud.demo.image.get_image(made.id)).status == "active" and one, 120, "the image"
    )
    assert image.size > 0 and image.disk_format == "qcow2" and image.instance_uuid == server
    assert cloud.settled(server).power_state == 1
    copy = cloud.boot("copy", image_id=made.id)
    cloud.settled(copy)
    cloud.says(copy, UP)
    cloud.delete(copy)
    cloud.demo.image.delete_image(made.id)


def test_an_interface_comes_and_goes(cloud: RealCloud, server: str) -> None:
    network = cloud.add_network("second", "10.8.0.0/24")
    made = cloud.demo.compute.create_server_interface(server, net_id=network)
    eventually(lambda: cloud.demo.network.get_port(made.port_id).status == "ACTIVE", 60, "the port")
    assert made.port_id[:10] in cloud.virsh("domiflist", server)
    cloud.demo.compute.delete_server_interface(made.port_id, server)
    eventually(lambda: cloud.demo.network.find_port(made.port_id, ignore_missing=True) is None, 90, "its end")
    assert made.port_id[:10] not in cloud.virsh("domiflist", server)
    cloud.demo.network.delete_network(network)


def test_a_rebuilt_server_is_a_new_guest_at_the_same_address(cloud: RealCloud, server: str) -> None:
    before = cloud.server(server)
    qemu = cloud.qemu(server)
    cloud.demo.compute.rebuild_server(server, cloud.image, name="again")
    after = cloud.settled(server)
    assert after.name == "again" and after.addresses == before.addresses
    assert cloud.qemu(server) != qemu
    cloud.says(server, UP)
    goes_on(cloud, server, 0)


def test_a_shelved_server_comes_back_with_what_it_has_written(cloud: RealCloud) -> None:
    """Its script, run at its first boot only, has every later one tell what it finds."""
    script = (
        "echo a-file > /root/left; sed -i '2i cat /root/left > /dev/console' /etc/init/cloud; echo wrote > /dev/console"
    )
    server = cloud.boot("shelved", script)
    before = cloud.settled(server)
    cloud.says(server, "^wrote")
    assert "a-file" not in cloud.console(server)
    cloud.demo.compute.shelve_server(server)
    shelved = cloud.settled(server, "SHELVED_OFFLOADED")
    assert shelved.compute_host is None and not cloud.processes(f"-uuid {server}")
    assert server not in cloud.virsh("list", "--all", "--uuid")
    cloud.demo.compute.unshelve_server(server)
    after = cloud.settled(server)
    assert after.addresses == before.addresses
    cloud.says(server, "^a-file")
    cloud.demo.compute.reboot_server(server, "HARD")
    cloud.settled(server)
    cloud.says(server, UP)
    cloud.delete(server)
