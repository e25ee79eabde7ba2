"""A server boots: address, instance data, user data, disks; and leaves nothing when it is deleted."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real.cloud.real import RealCloud
from tests.support import eventually

ORDER = [
    "accept",
    "schedule",
    "claim",
    "allocate network",
    "build guest",
    "fetch image",
    "inspect and convert image",
    "create disk",
    "console",
    "define guest",
    "plug port",
    "running",
    "activate",
]


@pytest.fixture(scope="module")
def server(cloud: RealCloud, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Made by the real client."""
    script: Path = tmp_path_factory.mktemp("boot") / "user-data"
    script.write_text("#!/bin/sh\necho user data of $(hostname)\n")
    arguments = ["--image", "tiny", "--flavor", "m1.nano", "--network", "net", "--user-data", str(script)]
    made = cloud.openstack("server", "create", *arguments, "First Boot", project="demo")
    cloud.settled(made["id"])
    yield str(made["id"])
    cloud.delete(made["id"])


def test_console_and_address(cloud: RealCloud, server: str) -> None:
    cloud.says(server, "login:")
    (address,) = cloud.server(server).addresses["net"]
    cloud.says(server, f"tiny: eth0 {address['addr']}/24 ")
    shown = cloud.openstack("console", "log", "show", server, project="demo", parse=False)
    assert "login:" in shown


def test_instance_data_by_the_metadata_service(cloud: RealCloud, server: str) -> None:
    cloud.says(server, f"tiny: instance-id {server} hostname first-boot(.[a-z]+)? source metadata-service")


def test_user_data_runs(cloud: RealCloud, server: str) -> None:
    cloud.says(server, "tiny: user-data exit 0")
    cloud.says(server, "user data of first-boot")


def test_trace_has_every_stage(cloud: RealCloud, server: str) -> None:
    trace = cloud.pileus("trace", server)
    order = [stage for stage in ORDER if "convert" not in stage or "cached True" not in trace]
    at = [trace.find(f" {stage} ") for stage in order]
    assert -1 not in at and at == sorted(at), trace


def test_it_is_one_guest_of_everything(cloud: RealCloud, server: str) -> None:
    cloud.assert_holds_exactly(server)


def test_config_drive_and_disks(cloud: RealCloud) -> None:
    flavor = cloud.flavor("disks", disk=2, ephemeral=1, swap=64)
    script = """
    exec > /dev/console
    cat /proc/partitions
    mount -t ext4 $(findfs LABEL=ephemeral0) /mnt && df -h /mnt | grep vdb
    dd if=/dev/vdc bs=1 skip=4086 count=10 2> /dev/null; echo
    """
    server = cloud.boot("disks", script, flavor_id=flavor, has_config_drive=True)
    cloud.settled(server)
    cloud.says(server, f"tiny: instance-id {server} hostname disks(.[a-z]+)? source config-drive")
    cloud.says(server, "user-data exit 0")
    said = cloud.console(server)
    for size_kib, disk in ((2 << 20, "vda"), (1 << 20, "vdb"), (64 << 10, "vdc")):
        assert f"{size_kib} {disk}" in said, said
    assert re.search(r"/dev/vdb .* /mnt\s", said) and "SWAPSPACE2" in said, said
    assert cloud.server(server).has_config_drive
    cloud.delete(server)


def test_many_at_once(cloud: RealCloud, server: str) -> None:
    """They are built and discarded side by side, on a network that none of them was on before."""
    network = cloud.add_network("many", "10.8.0.0/24")
    for _ in range(2):
        cloud.boot("many", min_count=4, networks=[{"uuid": network}])
        many = [one.id for one in cloud.demo.compute.servers(name="many")]
        assert len(many) == 4
        for one in many:
            cloud.settled(one)
        cloud.says(many[0], f"tiny: instance-id {many[0]} .* source metadata-service")
        cloud.delete(*many)
        cloud.assert_holds_exactly(server)
    cloud.demo.network.delete_network(network)
    eventually(lambda: network not in cloud.nbctl("list", "Logical_Switch"), 20, "the network's end")


def test_delete_leaves_nothing(cloud: RealCloud, server: str) -> None:
    allocations = f"/resource_providers/{_provider(cloud)}/usages"
    assert json.loads(cloud.admin.placement.get(allocations).text)["usages"]["VCPU"] == 1
    cloud.openstack("server", "delete", "--wait", server, project="demo")
    cloud.assert_nothing_left()
    assert json.loads(cloud.admin.placement.get(allocations).text)["usages"]["VCPU"] == 0


def _provider(cloud: RealCloud) -> str:
    return str(cloud.admin.placement.get("/resource_providers").json()["resource_providers"][0]["uuid"])
