"""The network driver over OVN: the protocol of network/base.py."""

from __future__ import annotations

import time
from pathlib import Path
from xml.etree import ElementTree

from pileus.agent.commands import GuestPort
from pileus.agent.errors import CommandFailed
from pileus.agent.network.base import MetadataListener
from pileus.agent.network.interfaces import Interfaces
from pileus.agent.network.links import remove_link
from pileus.agent.network.metadata_ns import MetadataNamespaces
from pileus.agent.network.ovnd import INTEGRATION_BRIDGE, Neighbours, OvnDaemons
from pileus.agent.papers import Pems
from pileus.agent.timeline import Timeline

_HOST_OFFLOADS = ("csum", "gso", "tso4", "tso6", "ecn", "ufo")
_GUEST_OFFLOADS = ("csum", "tso4", "tso6", "ecn", "ufo")

LOOK_UP_S = 1.0
"""How often a wait for a port looks up whether it is still wanted."""


class OvnNetwork:
    """OVN on one host, which is a chassis, and central if no other is. Satisfies pileus.agent.network.base.Network.

    Args:
        state: the agent's directory; libvirtd must see `state/openvswitch/run` as /run/openvswitch.
        host: name of this host, as ports are bound to it; the chassis' name.
        neighbours: how it meets other hosts.
        outbound: the external network's gateway, if it shall be NATed to the outside: "203.0.113.1/24".
        northbound: socket on which the control plane finds the northbound database, besides the daemons' own.
        group: who may open that socket; root alone if not given.
        mark: behind the names of what hosts that share a machine must tell apart.
    """

    kind = "ovn"

    def __init__(
        self,
        state: Path,
        host: str,
        *,
        neighbours: Neighbours = Neighbours(),
        outbound: str | None = None,
        northbound: Path | None = None,
        group: int | None = None,
        mark: str = "",
    ) -> None:
        self._host, self._mark = host, mark
        self._daemons = OvnDaemons(state, host, neighbours, outbound, northbound, group)
        self._open: tuple[Interfaces, MetadataNamespaces] | None = None

    @property
    def found_running(self) -> bool:
        return self._daemons.found_running

    def start(self, listener: MetadataListener) -> None:
        """Bring the network up (starting its daemons if they do not run)."""
        self._daemons.start()
        self._open = Interfaces(self._daemons.db_socket), MetadataNamespaces(self._daemons.vsctl, listener, self._mark)
        self._open[1].recover()

    def stop(self, keep_guests: bool) -> None:
        """Orderly stop of own daemons, unless guests that need them keep running."""
        if self._open is not None:
            interfaces, namespaces = self._open
            self._open = None
            namespaces.close() if keep_guests else namespaces.release_all()
            interfaces.close()
        self._daemons.stop(keep_running=keep_guests)

    def meet(self, pems: Pems) -> str:
        """Use these certificates with other hosts; where they find OVN's central, if it is here."""
        return self._daemons.meet(pems)

    def tap_name(self, port_id: str) -> str:
        """Name of the guest's tap device of a port: 14 characters, as operators know it."""
        return f"tap{port_id[:11]}"

    def prepare_host(self, wiring: GuestPort) -> None:
        """Make this host ready for the port's network (the metadata namespace)."""
        if (port := wiring.network.metadata_port) is not None:
            self._started()[1].ensure(wiring.network.id, port, wiring.network.mtu)

    def release_host(self, network_ids: list[str]) -> None:
        """Remove the metadata namespaces of networks that no guest of this host uses any more."""
        for network_id in network_ids:
            self._started()[1].release(network_id)

    def interface_xml(self, wiring: GuestPort) -> str:
        """The libvirt `<interface>` element that plugs the port (libvirt.org/formatdomain.html)."""
        interface = ElementTree.Element("interface", type="bridge")
        ElementTree.SubElement(interface, "mac", address=wiring.port.mac_address)
        ElementTree.SubElement(interface, "source", bridge=INTEGRATION_BRIDGE)
        virtual_port = ElementTree.SubElement(interface, "virtualport", type="openvswitch")
        ElementTree.SubElement(virtual_port, "parameters", interfaceid=wiring.port.id)
        ElementTree.SubElement(interface, "target", dev=self.tap_name(wiring.port.id))
        ElementTree.SubElement(interface, "model", type="virtio")
        if self._daemons.datapath_type == "netdev":
            # The guest has to finish its checksums for the reason given at finish_checksums.
            driver = ElementTree.SubElement(interface, "driver")
            ElementTree.SubElement(driver, "host", dict.fromkeys(_HOST_OFFLOADS, "off"))
            ElementTree.SubElement(driver, "guest", dict.fromkeys(_GUEST_OFFLOADS, "off"))
        ElementTree.SubElement(interface, "mtu", size=str(wiring.network.mtu))
        return ElementTree.tostring(interface, encoding="unicode")

    def await_up(self, port_ids: list[str], timeout_s: float, timeline: Timeline) -> None:
        """Wait until the ports are up on this host; one `plug port` event each; a failure names the port."""
        interfaces, deadline = self._started()[0], time.monotonic() + timeout_s
        interfaces.catch_up()  # or an interface that has just been replaced is still known as installed
        for port_id in port_ids:
            tap = self.tap_name(port_id)
            with timeline.stage("plug port") as detail:
                detail.update(port=port_id, tap=tap)
                while not interfaces.wait_installed(tap, port_id, min(LOOK_UP_S, deadline - time.monotonic())):
                    if timeline.abandoned:
                        raise CommandFailed("abandoned", f"port {port_id} is not waited for: the guest was taken back")
                    if time.monotonic() < deadline:
                        continue
                    message = f"port {port_id} did not come up on {self._host} within {timeout_s:g} s"
                    raise CommandFailed("plug-timeout", message)

    def unplug(self, port_ids: list[str]) -> None:
        """Remove what a port left on this host (tap, OVS interface). Idempotent."""
        taps = [self.tap_name(port_id) for port_id in port_ids]
        plugged = self._started()[0].present(taps)
        commands = [part for tap in plugged for part in ("--", "--if-exists", "del-port", INTEGRATION_BRIDGE, tap)]
        if commands:
            self._daemons.vsctl(*commands[1:])
        for tap in taps:
            remove_link(tap)

    def _started(self) -> tuple[Interfaces, MetadataNamespaces]:
        if self._open is None:
            raise CommandFailed("network", "The network has not been started")
        return self._open
