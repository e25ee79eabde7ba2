"""Where guests find 169.254.169.254: a network namespace for each network with guests on this host.

One end of a veth is in the namespace, the other on br-int as the network's metadata port (a localport: it
exists on every chassis). A socket keeps the namespace it was made in, so the metadata service itself runs
outside: only the listening socket is made inside.
"""

from __future__ import annotations

import ctypes
import ipaddress
import logging
import os
import re
import socket
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

from pileus.agent.commands import FixedIP, PortSpec
from pileus.agent.daemons import run
from pileus.agent.errors import CommandFailed
from pileus.agent.network.base import MetadataListener
from pileus.agent.network.links import finish_checksums, link_exists, remove_link
from pileus.agent.network.ovnd import INTEGRATION_BRIDGE

LOG = logging.getLogger(__name__)

METADATA_IP = "169.254.169.254"
_NETNS = Path("/run/netns")
_PREFIX = "ovnmeta-"
_OWNER = "pileus-network"
_CLONE_NEWNET = 0x40000000  # linux/sched.h


class MetadataNamespaces:
    """The namespaces of one host. Which are ours is known from the ports on our own switch.

    The listening socket of a network that leaves the host is shut down: accept() on it then fails, and
    whoever got it closes it.

    Args:
        mark: behind the namespaces' names, where several hosts share a machine.
    """

    def __init__(self, vsctl: Callable[..., str], listener: MetadataListener, mark: str = "") -> None:
        self._vsctl, self._listener, self._mark = vsctl, listener, mark
        self._sockets: dict[str, socket.socket] = {}
        self._ports: dict[str, tuple[PortSpec, int]] = {}
        self._lock = threading.Lock()

    def recover(self) -> None:
        """Listen again in the namespaces that are there; forget those that a reboot of the machine took."""
        for network_id in self._owned():
            if not (_NETNS / self._space(network_id)).exists():
                self.release(network_id)
                continue
            try:
                self._listen(network_id)
            except CommandFailed as error:  # its guests lack metadata; all others shall not lack an agent
                LOG.error("network %s: %s", network_id, error)

    def ensure(self, network_id: str, port: PortSpec, mtu: int) -> None:
        """Make a network's namespace exist with its metadata port plugged, and listen in it."""
        with self._lock:
            if self._ports.get(network_id) == (port, mtu):
                return
            if not (_NETNS / self._space(network_id)).exists():
                run("ip", "netns", "add", self._space(network_id))
            _wire(self._space(network_id), network_id, port, mtu)
            self._plug(network_id, port)
            if network_id not in self._sockets:
                self._listen(network_id)
            self._ports[network_id] = (port, mtu)

    def release(self, network_id: str) -> None:
        """Remove a network's namespace. Idempotent."""
        with self._lock:
            self._ports.pop(network_id, None)
            self._close(network_id)
            self._vsctl("--if-exists", "del-port", INTEGRATION_BRIDGE, _veth(network_id, 0))
            remove_link(_veth(network_id, 0))  # before its namespace, which the kernel takes down later
            if (_NETNS / self._space(network_id)).exists():
                run("ip", "netns", "del", self._space(network_id))

    def release_all(self) -> None:
        for network_id in self._owned():
            self.release(network_id)

    def close(self) -> None:
        """Stop listening; the namespaces stay for the next agent."""
        with self._lock:
            for network_id in list(self._sockets):
                self._close(network_id)

    def _owned(self) -> list[str]:
        columns = ("--bare", "--no-headings", "--columns=external_ids", "find", "Interface")
        lines = self._vsctl(*columns, f"external_ids:{_OWNER}!=''").splitlines()
        pairs = [pair.partition("=") for line in lines for pair in line.replace(",", " ").split()]
        return [value.strip('"') for key, _, value in pairs if key == _OWNER]

    def _space(self, network_id: str) -> str:
        return namespace(network_id) + self._mark

    def _plug(self, network_id: str, port: PortSpec) -> None:
        name = _veth(network_id, 0)
        ids = (f"external_ids:iface-id={port.id}", f"external_ids:{_OWNER}={network_id}")
        add = ("--may-exist", "add-port", INTEGRATION_BRIDGE, name)
        self._vsctl(*add, "--", "set", "Interface", name, *ids)

    def _listen(self, network_id: str) -> None:
        listening = _in_namespace(self._space(network_id), lambda: _prepare_socket(_veth(network_id, 1)))
        self._sockets[network_id] = listening
        self._listener(network_id, listening)

    def _close(self, network_id: str) -> None:
        if listening := self._sockets.pop(network_id, None):
            try:
                listening.shutdown(socket.SHUT_RDWR)
            except OSError:  # the listener has closed it
                return


def namespace(network_id: str) -> str:
    """Name of a network's namespace (as Neutron's metadata agent has it)."""
    return _PREFIX + network_id


def _veth(network_id: str, end: int) -> str:
    """Name of the pair's end on the bridge (0) or in the namespace (1), at most 15 characters."""
    return f"tap{network_id[:10]}{end}"


def _wire(space: str, network_id: str, port: PortSpec, mtu: int) -> None:
    """Make the veth pair and give its inner end the port's addresses; what is there already is corrected.

    Addresses that stay are never taken away: a new agent shall not disturb the guests that it finds.
    """
    outer, inner = _veth(network_id, 0), _veth(network_id, 1)
    if not link_exists(outer):
        run("ip", "link", "add", outer, "type", "veth", "peer", "name", inner, "netns", space)
    run("ip", "link", "set", outer, "mtu", str(mtu), "up")
    lines = [
        "link set lo up",
        f"link set {inner} address {_mac(port)} mtu {mtu}",
    ]
    wanted = [f"{METADATA_IP}/32", *(f"{_address(ip)}/{ip.prefix_length}" for ip in port.fixed_ips)]
    lines += [f"addr del {address} dev {inner}" for address in _addresses(space, inner) if address not in wanted]
    lines += [f"addr replace {address} dev {inner}{' nodad' if ':' in address else ''}" for address in wanted]
    lines.append(f"link set {inner} up")
    with tempfile.NamedTemporaryFile("w", prefix="pileus-ip-") as batch:
        batch.write("\n".join(lines) + "\n")
        batch.flush()
        run("ip", "-n", space, "-batch", batch.name)


def _addresses(space: str, device: str) -> list[str]:
    """The addresses of a device, with their prefixes' lengths, without those that the kernel makes of its MAC."""
    lines = run("ip", "-n", space, "-oneline", "address", "show", "dev", device, "scope", "global").splitlines()
    return [line.split()[3] for line in lines]


def _address(ip: FixedIP) -> str:
    """The address alone: what `ip` reads as root holds no text of a client's, such as a zone (RFC 4007).

    Raises:
        CommandFailed: it is no address.
    """
    try:
        address = ipaddress.ip_address(ip.ip_address)
    except ValueError as error:
        raise CommandFailed("network", f"The metadata port has no address {ip.ip_address!r}") from error
    return str(type(address)(int(address)))


def _mac(port: PortSpec) -> str:
    if not re.fullmatch(r"([0-9a-f]{2}:){5}[0-9a-f]{2}", port.mac_address):
        raise CommandFailed("network", f"The metadata port has no MAC address {port.mac_address!r}")
    return port.mac_address


def _prepare_socket(device: str) -> socket.socket:
    """The listening socket, on a device that can answer."""
    finish_checksums(device)
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((METADATA_IP, 80))
        listening.listen(128)
    except OSError:
        listening.close()
        raise
    return listening


def _in_namespace(name: str, make: Callable[[], socket.socket]) -> socket.socket:
    """Call `make` on a thread that has entered a network namespace and ends with that.

    Raises:
        CommandFailed: the namespace is not there or `make` failed in it.
    """
    result: Future[socket.socket] = Future()

    def enter() -> None:
        try:
            with (_NETNS / name).open() as file:
                if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), _CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), "setns")
            result.set_result(make())
        except OSError as error:
            result.set_exception(error)

    thread = threading.Thread(target=enter, name=f"enter {name}")
    thread.start()
    thread.join()
    try:
        return result.result()
    except OSError as error:
        raise CommandFailed(
            "network", f"The metadata namespace does not work: {os.strerror(error.errno or 0)}"
        ) from error
