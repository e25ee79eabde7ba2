"""Outbound NAT: off unless asked for; then the external network's addresses leave by the host's own."""

from __future__ import annotations

import subprocess
import sys
import uuid
from collections.abc import Iterator

import pytest

from tests.support import CloudUnderTest

OPTIONS = ("--hypervisor", "fake", "--network", "ovn")


def ip(*arguments: str) -> str:
    return subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True).stdout


@pytest.fixture
def inside() -> Iterator[str]:
    """A namespace for the cloud, joined by a cable to one that stands for the outside."""
    name = f"pileus-nat-{uuid.uuid4().hex[:6]}"
    outside = f"{name}-out"
    for one in (name, outside):
        ip("netns", "add", one)
    ip("link", "add", "nat0", "netns", name, "type", "veth", "peer", "name", "nat1", "netns", outside)
    for one, device, address in ((name, "nat0", "198.51.100.1/24"), (outside, "nat1", "198.51.100.2/24")):
        ip("-n", one, "addr", "add", address, "dev", device)
        ip("-n", one, "link", "set", device, "up")
    yield name
    for one in (name, outside):
        ip("netns", "del", one)


LISTEN = """
import socket
server = socket.create_server(("198.51.100.2", 7))
print("listening", flush=True)
print(server.accept()[1][0])
"""
CONNECT = """
import socket
socket.create_connection(("198.51.100.2", 7), timeout=10, source_address=("203.0.113.1", 0))
"""


def seen_from_outside(inside: str) -> str:
    """Connects from the external network's gateway to the outside; gives the address that is seen there."""
    within = ["ip", "netns", "exec"]
    listen = [*within, f"{inside}-out", sys.executable, "-c", LISTEN]
    connect = [*within, inside, sys.executable, "-c", CONNECT]
    with subprocess.Popen(listen, stdout=subprocess.PIPE, text=True) as listener:
        try:
            assert listener.stdout is not None and listener.stdout.readline() == "listening\n"
            subprocess.run(connect, check=True, capture_output=True, timeout=30)
            return listener.stdout.readline().strip()
        finally:
            listener.kill()


def test_outbound_nat_is_a_choice(inside: str) -> None:
    cloud = CloudUnderTest(None, *OPTIONS, netns=inside)
    try:
        cloud.up()
        assert "203.0.113.1" not in ip("-n", inside, "addr")
        cloud.down()
        cloud.options.append("--outbound-nat")
        cloud.up()
        assert seen_from_outside(inside) == "198.51.100.1"
        cloud.down()
        left = ip("-n", inside, "addr")
        assert "203.0.113.1" not in left and "br-ex" not in left and "br-int" not in left
        rules = ["ip", "netns", "exec", inside, "nft", "list", "ruleset"]
        assert "masquerade" not in subprocess.run(rules, check=True, capture_output=True, text=True).stdout
    finally:
        cloud.remove()


def test_outbound_nat_needs_a_real_network() -> None:
    cloud = CloudUnderTest(None, "--hypervisor", "fake", "--network", "fake", "--outbound-nat")
    try:
        with pytest.raises(AssertionError, match="outbound NAT needs the network ovn"):
            cloud.up()
    finally:
        cloud.remove()
