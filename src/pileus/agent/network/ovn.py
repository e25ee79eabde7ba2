"""The network driver over OVN: the protocol of network/base.py, each method one northbound transaction."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

from pileus.agent.commands import GuestPort, NetworkSpec, PortSpec, SecurityGroupSpec
from pileus.agent.errors import CommandFailed
from pileus.agent.network import nb_group, nb_network, nb_port
from pileus.agent.network.base import MetadataListener
from pileus.agent.network.links import remove_link
from pileus.agent.network.metadata_ns import MetadataNamespaces
from pileus.agent.network.nb import Change, Northbound
from pileus.agent.network.ovnd import INTEGRATION_BRIDGE, OvnDaemons
from pileus.agent.timeline import Timeline

_HOST_OFFLOADS = ("csum", "gso", "tso4", "tso6", "ecn", "ufo")
_GUEST_OFFLOADS = ("csum", "tso4", "tso6", "ecn", "ufo")

LOOK_UP_S = 1.0
"""How often a wait for a port looks up whether it is still wanted."""


class OvnNetwork:
    """OVN on one host, which is central and chassis. Satisfies pileus.agent.network.base.Network.

    Args:
        state: the agent's directory; libvirtd must see `state/openvswitch/run` as /run/openvswitch.
        host: name of this host, as ports are bound to it; the chassis' name.
        encap_ip: address of the tunnels.
        dns_domain: domain of the names that guests are given.
        outbound: the external network's gateway, if it shall be NATed to the outside: "203.0.113.1/24".
    """

    kind = "ovn"

    def __init__(
        self,
        state: Path,
        host: str,
        *,
        encap_ip: str = "127.0.0.1",
        dns_domain: str = "openstacklocal",
        outbound: str | None = None,
    ) -> None:
        self._host, self._domain = host, dns_domain.rstrip(".")
        self._daemons = OvnDaemons(state, host, encap_ip, outbound)
        self._open: tuple[Northbound, MetadataNamespaces] | None = None

    @property
    def found_running(self) -> bool:
        return self._daemons.found_running

    @property
    def northbound(self) -> Northbound:
        return self._started()[0]

    def start(self, listener: MetadataListener) -> None:
        """Bring the network up (starting its daemons if they do not run)."""
        self._daemons.start()
        northbound = Northbound(self._daemons.nb_socket)
        self._open = northbound, MetadataNamespaces(self._daemons.vsctl, listener)
        northbound.change(lambda change: _ignore(nb_group.put_drop_group(change)))
        self._open[1].recover()

    def stop(self, keep_guests: bool) -> None:
        """Orderly stop of own daemons, unless guests that need them keep running."""
        if self._open is not None:
            northbound, namespaces = self._open
            self._open = None
            namespaces.close() if keep_guests else namespaces.release_all()
            northbound.close()
        self._daemons.stop(keep_running=keep_guests)

    # --- the logical network ---------------------------------------------------------------------------------

    def sync_network(self, network: NetworkSpec) -> None:
        """Make a network, its subnets' DHCP options and its metadata port exist as specified."""
        self._change(lambda change: _ignore(nb_network.put_network(change, network, self._domain)))

    def drop_network(self, network_id: str) -> None:
        """Remove a network; nothing there is no error."""
        self._change(lambda change: nb_network.drop_network(change, network_id))
        self._started()[1].release(network_id)

    def sync_port(self, wiring: GuestPort) -> None:
        """Make a port exist as specified, with its network and security groups; one on no host has none."""
        if not wiring.port.host:
            self.unbind_port(wiring.port)
            return

        def put(change: Change) -> None:
            nb_network.put_network(change, wiring.network, self._domain)
            for group in wiring.security_groups:
                nb_group.put_group(change, group)
            nb_port.put_port(change, wiring.port, self._domain)

        self._change(put)

    def drop_port(self, port_id: str) -> None:
        """Remove a port; nothing there is no error."""
        self._change(lambda change: nb_port.drop_port(change, port_id, self._domain))

    def unbind_port(self, port: PortSpec) -> None:
        """Remove a port that its owner keeps: nobody tells when a port on no host changes or goes."""
        self._change(lambda change: nb_port.unbind_port(change, port, self._domain))

    def sync_security_group(self, group: SecurityGroupSpec) -> None:
        """Make a group's rules take effect."""
        self._change(lambda change: nb_group.put_group(change, group))

    def drop_security_group(self, group_id: str) -> None:
        """Remove a group; nothing there is no error."""
        self._change(lambda change: nb_group.drop_group(change, group_id))

    # --- this host -------------------------------------------------------------------------------------------

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
        deadline = time.monotonic() + timeout_s
        for port_id in port_ids:
            with timeline.stage("plug port") as detail:
                detail.update(port=port_id, tap=self.tap_name(port_id))
                while not self.northbound.wait_up(port_id, min(LOOK_UP_S, deadline - time.monotonic())):
                    if timeline.abandoned:
                        raise CommandFailed("abandoned", f"port {port_id} is not waited for: the guest was taken back")
                    if time.monotonic() < deadline:
                        continue
                    message = f"port {port_id} did not come up on {self._host} within {timeout_s:g} s"
                    raise CommandFailed("plug-timeout", message)

    def unplug(self, port_ids: list[str]) -> None:
        """Remove what a port left on this host (tap, OVS interface); nothing there is no error."""
        taps = [self.tap_name(port_id) for port_id in port_ids]
        commands = [part for tap in taps for part in ("--", "--if-exists", "del-port", INTEGRATION_BRIDGE, tap)]
        if commands:
            self._daemons.vsctl(*commands[1:])
        for tap in taps:
            remove_link(tap)

    def _change(self, body: Callable[[Change], None]) -> None:
        self.northbound.change(body)

    def _started(self) -> tuple[Northbound, MetadataNamespaces]:
        if self._open is None:
            raise CommandFailed("network", "The network has not been started")
        return self._open


def _ignore(row: object) -> None:
    """For a change's result that nobody needs: a row is valid only while its transaction is made."""
