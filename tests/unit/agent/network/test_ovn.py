"""The interface that libvirt gets."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from pileus.agent.commands import GuestPort, NetworkSpec, PortSpec
from pileus.agent.network.ovn import OvnNetwork

MAC = "fa:16:3e:00:00:01"
PORT = "0ab6a346-6181-4fa1-81e2-3203cf8a2a66"


@pytest.mark.parametrize("datapath", ["netdev", "system"])
def test_interface(tmp_path: Path, datapath: str) -> None:
    driver = OvnNetwork(tmp_path, "host")
    driver._daemons.datapath_type = datapath
    network = NetworkSpec(id="n", name="n", project_id="p", mtu=1442, revision=1)
    port = PortSpec(id=PORT, network_id="n", project_id="p", mac_address=MAC, revision=1)
    xml = driver.interface_xml(GuestPort(port=port, network=network))
    interface = ElementTree.fromstring(xml)
    found = {element.tag: element.attrib for element in interface.iter()}
    assert found["interface"] == {"type": "bridge"}
    assert found["source"] == {"bridge": "br-int"}
    assert found["virtualport"] == {"type": "openvswitch"}
    assert found["parameters"] == {"interfaceid": PORT}
    assert found["mac"] == {"address": MAC}
    assert found["target"] == {"dev": "tap0ab6a346-61"}
    assert found["mtu"] == {"size": "1442"}
    assert ("driver" in found) == (datapath == "netdev")
    if datapath == "netdev":
        assert set(found["host"].values()) == set(found["guest"].values()) == {"off"}
