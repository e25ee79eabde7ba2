"""The fake network: carries no packet. For scale and API tests."""

from __future__ import annotations

import xml.etree.ElementTree as ET

from pileus.agent.commands import GuestPort
from pileus.agent.network.base import MetadataListener
from pileus.agent.papers import Pems
from pileus.agent.timeline import Timeline


class FakeNetwork:
    """Implements Network; ports are up as soon as they are waited for."""

    kind = "fake"
    found_running = False

    def start(self, listener: MetadataListener) -> None:
        """Nothing to start."""

    def meet(self, pems: Pems) -> str:
        """There are no packets to exchange."""
        return ""

    def tap_name(self, port_id: str) -> str:
        return f"tap{port_id[:11]}"

    def prepare_host(self, wiring: GuestPort) -> None:
        """Nothing to prepare."""

    def interface_xml(self, wiring: GuestPort) -> str:
        """QEMU's user-mode network: the guest has a NIC, connected to nothing of the cloud."""
        interface = ET.Element("interface", type="user")
        ET.SubElement(interface, "mac", address=wiring.port.mac_address)
        ET.SubElement(interface, "model", type="virtio")
        return ET.tostring(interface, encoding="unicode")

    def await_up(self, port_ids: list[str], timeout_s: float, timeline: Timeline) -> None:
        for port_id in port_ids:
            timeline.mark("plug port", port=port_id, tap=self.tap_name(port_id))

    def unplug(self, port_ids: list[str]) -> None:
        """Nothing was plugged."""

    def release_host(self, network_ids: list[str]) -> None:
        """Nothing was prepared."""

    def stop(self, keep_guests: bool) -> None:
        """Nothing runs."""
