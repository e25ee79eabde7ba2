"""The cloud goes away under its guests and comes back: they run on, and it finds them again."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from tests.real.cloud.real import RealCloud
from tests.real.ovn_world import sh
from tests.support import eventually

BEAT = """
beat() {
  while :; do
    n=$((n + 1))
    ping -c 1 -W 2 10.7.0.2 > /dev/null 2>&1 && net=yes || net=no
    timeout 4 wget -q -O /dev/null http://169.254.169.254/openstack/latest/meta_data.json && data=yes || data=no
    echo "beat $n: net $net, data $data;" > /dev/console
    sleep 1
  done
}
beat > /dev/null 2>&1 &
"""
GOOD = r"beat (\d+): net yes, data yes;"


@pytest.fixture(scope="module")
def server(cloud: RealCloud) -> Iterator[str]:
    server = cloud.boot("beat", BEAT)
    try:
        cloud.settled(server)
        cloud.says(server, GOOD)
        yield server
    finally:
        cloud.delete(server)
    cloud.assert_nothing_left()


@pytest.mark.parametrize("way", ["down --keep-guests", "kill -9"])
def test_guests_outlive_the_cloud(cloud: RealCloud, server: str, way: str) -> None:
    qemu, beats = cloud.qemu(server), int(cloud.says(server, GOOD)[-1])
    if way == "kill -9":
        cloud.kill()
    else:
        cloud.down("--keep-guests")
    assert cloud.qemu(server) == qemu
    cloud.up()
    assert cloud.settled(server).power_state == 1
    assert cloud.qemu(server) == qemu
    cloud.assert_holds_exactly(server)
    eventually(lambda: int(cloud.says(server, GOOD)[-1]) > beats + 1, 60, "the guest's network and instance data")


@pytest.mark.parametrize("program", ["agent", "libvirtd", "ovs-vswitchd", "ovn-controller"])
def test_a_process_that_dies_is_started_again(cloud: RealCloud, server: str, program: str) -> None:
    qemu, beats = cloud.qemu(server), int(cloud.says(server, GOOD)[-1])
    dies = cloud.process(program)
    os.kill(dies, signal.SIGKILL)
    eventually(lambda: cloud.process(program) not in (None, dies), 30, f"a new {program}")
    eventually(lambda: int(cloud.says(server, GOOD)[-1]) > beats + 3, 60, "the guest's network and instance data")
    assert cloud.qemu(server) == qemu
    other = cloud.boot("other")
    cloud.settled(other)
    cloud.says(other, "tiny: eth0 ")
    cloud.delete(other)
    cloud.assert_holds_exactly(server)


def test_a_new_server_beside_one_found_again(cloud: RealCloud, server: str) -> None:
    other = cloud.boot("other")
    cloud.settled(other)
    cloud.says(other, f"tiny: instance-id {other} .* source metadata-service")
    cloud.assert_holds_exactly(server, other)
    cloud.delete(other)
    cloud.assert_holds_exactly(server)


def test_a_guest_that_ends_while_the_cloud_is_away(cloud: RealCloud, server: str) -> None:
    cloud.kill()
    cloud.virsh("destroy", server)
    cloud.up()
    cloud.becomes(server, "SHUTOFF")
    cloud.demo.compute.start_server(server)
    cloud.settled(server)


def test_down_shuts_guests_down_and_ends_every_process(cloud: RealCloud, server: str) -> None:
    cloud.says(server, "login:")
    boots = cloud.console(server).count("tiny: cloud done")
    cloud.says(server, "tiny: cloud done", boots or 1)
    downs = cloud.console(server).count("tiny: shutting down")
    cloud.down()
    assert not cloud.processes()
    assert f"ovnmeta-{cloud.network}" not in sh("ip", "netns")
    assert "tap" not in sh("ip", "-o", "link")
    console = (cloud.agent / "instances" / server / "console.log").read_text(errors="replace")
    assert console.count("tiny: shutting down") == downs + 1
    cloud.up()
    assert cloud.settled(server, "SHUTOFF").power_state == 4
    cloud.demo.compute.start_server(server)
    cloud.settled(server)
    cloud.says(server, "tiny: cloud done", boots + 1)
    cloud.assert_holds_exactly(server)
