"""The addresses of a network's metadata port: those that stay are never taken away."""

from __future__ import annotations

import os
import subprocess
import uuid
from collections.abc import Iterator

import pytest

from pileus.agent.commands import FixedIP, PortSpec
from pileus.agent.network import metadata_ns
from pileus.agent.network.links import remove_link

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: network namespaces")
MTU = 1400


def ip(*arguments: str) -> str:
    return subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True).stdout


@pytest.fixture
def network() -> Iterator[str]:
    name = f"m{uuid.uuid4().hex}"
    ip("netns", "add", metadata_ns.namespace(name))
    yield name
    remove_link(metadata_ns._veth(name, 0))
    ip("netns", "del", metadata_ns.namespace(name))


def port(network: str, *addresses: str) -> PortSpec:
    fixed = (FixedIP(subnet_id="s", ip_address=one, prefix_length=64 if ":" in one else 24) for one in addresses)
    return PortSpec(
        id="p", network_id=network, project_id="x", mac_address="fa:16:3e:00:00:01", revision=1, fixed_ips=tuple(fixed)
    )


def test_addresses_that_stay_are_left_alone(network: str) -> None:
    space, device = metadata_ns.namespace(network), metadata_ns._veth(network, 1)

    metadata_ns._wire(metadata_ns.namespace(network), network, port(network, "10.0.0.2", "fd00::2"), MTU)
    assert set(metadata_ns._addresses(space, device)) == {"169.254.169.254/32", "10.0.0.2/24", "fd00::2/64"}
    with subprocess.Popen(["ip", "-n", space, "monitor", "address"], stdout=subprocess.PIPE, text=True) as monitor:
        assert monitor.stdout is not None
        metadata_ns._wire(metadata_ns.namespace(network), network, port(network, "10.0.0.2", "fd00::2"), MTU)
        metadata_ns._wire(metadata_ns.namespace(network), network, port(network, "10.0.0.3", "fd00::2"), MTU)
        ip("-n", space, "address", "del", "fd00::2/64", "dev", device)  # the last thing that is to be told
        told = []
        while "fd00::2" not in (line := monitor.stdout.readline()) or "Deleted" not in line:
            told.append(line)
        monitor.kill()
    assert [line.split()[4] for line in told if line.startswith("Deleted")] == ["10.0.0.2/24"]
    assert set(metadata_ns._addresses(space, device)) == {"169.254.169.254/32", "10.0.0.3/24"}
