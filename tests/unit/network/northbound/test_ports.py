"""Columns of a logical switch port, and the interface that libvirt gets."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from pileus.agent.commands import FixedIP, GuestPort, NetworkSpec, PortSpec
from pileus.agent.network.nb_port import addresses, dns_records
from pileus.agent.network.ovn import OvnNetwork

MAC, OTHER = "fa:16:3e:00:00:01", "fa:16:3e:00:00:02"


def port(*ips: str, **changes: Any) -> PortSpec:
    fixed = tuple(FixedIP(subnet_id="s", ip_address=ip, prefix_length=24) for ip in ips)
    columns = {
        "id": "0ab6a346-6181-4fa1-81e2-3203cf8a2a66",
        "network_id": "n",
        "project_id": "p",
        "revision": 1,
    }
    return PortSpec(**(columns | {"mac_address": MAC, "fixed_ips": fixed} | changes))


def test_plain_port_may_send_what_it_is() -> None:
    assert addresses(port("10.0.0.5", "fd00::5")) == (
        [f"{MAC} 10.0.0.5 fd00::5"],
        [f"{MAC} 10.0.0.5 fd00::5"],
    )
    assert addresses(port()) == ([MAC], [MAC])


def test_port_without_security_takes_everything() -> None:
    assert addresses(port("10.0.0.5", port_security_enabled=False)) == ([f"{MAC} 10.0.0.5", "unknown"], [])


def test_allowed_address_pairs() -> None:
    pairs = (
        {"ip_address": "10.0.0.9"},
        {"ip_address": "10.0.0.5", "mac_address": MAC},
        {"ip_address": "10.1.0.0/16", "mac_address": OTHER},
    )
    assert addresses(port("10.0.0.5", allowed_address_pairs=pairs)) == (
        [f"{MAC} 10.0.0.5", OTHER],
        [f"{MAC} 10.0.0.5 10.0.0.9", f"{OTHER} 10.1.0.0/16"],
    )


def test_dns_records() -> None:
    assert dns_records("Web", "10.0.0.5/24 fd00::5/64", "example") == {
        "web": "10.0.0.5 fd00::5",
        "web.example": "10.0.0.5 fd00::5",
        "5.0.0.10.in-addr.arpa": "web.example",
        "5." + "0." * 29 + "d.f.ip6.arpa": "web.example",
    }
    assert dns_records("", "10.0.0.5/24", "example") == {}
    assert dns_records("web", "", "example") == {}


@pytest.mark.parametrize("datapath", ["netdev", "system"])
def test_interface(tmp_path: Path, datapath: str) -> None:
    driver = OvnNetwork(tmp_path, "host")
    driver._daemons.datapath_type = datapath
    network = NetworkSpec(id="n", name="n", project_id="p", mtu=1442, revision=1)
    xml = driver.interface_xml(GuestPort(port=port("10.0.0.5"), network=network))
    interface = ElementTree.fromstring(xml)
    found = {element.tag: element.attrib for element in interface.iter()}
    assert found["interface"] == {"type": "bridge"}
    assert found["source"] == {"bridge": "br-int"}
    assert found["virtualport"] == {"type": "openvswitch"}
    assert found["parameters"] == {"interfaceid": port().id}
    assert found["mac"] == {"address": MAC}
    assert found["target"] == {"dev": "tap0ab6a346-61"}
    assert found["mtu"] == {"size": "1442"}
    assert ("driver" in found) == (datapath == "netdev")
    if datapath == "netdev":
        assert set(found["host"].values()) == set(found["guest"].values()) == {"off"}
