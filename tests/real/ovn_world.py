"""A small world for the OVN driver: a network namespace as the host, namespaces as guests.

A guest is one end of a veth in a namespace; the other end is on br-int under the port's id, which is all that
OVN sees of a QEMU guest, too.
"""

from __future__ import annotations

import ctypes
import grp
import os
import shutil
import socket
import struct
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest

from pileus.agent.commands import (
    FixedIP,
    GuestPort,
    NetworkSpec,
    PortSpec,
    SubnetSpec,
)
from pileus.agent.network.ovn import OvnNetwork
from pileus.agent.timeline import Timeline
from pileus.network.northbound.base import RuleSpec, SecurityGroupSpec, Wiring
from pileus.network.northbound.ovn import OvnNorthbound
from pileus.ovsdb import Row

T = TypeVar("T")
HOST = "pileus-test-host"
NEEDS_OVN = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("ovn-northd"), reason="needs root and OVN's packages"
)


def sh(*argv: str) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True, timeout=60).stdout


def setns(fd: int) -> None:
    if ctypes.CDLL(None, use_errno=True).setns(fd, 0x40000000):
        raise OSError(ctypes.get_errno(), "setns")


@contextmanager
def namespace() -> Iterator[str]:
    """A network namespace of our own with nothing but lo, and no way out."""
    name = f"pileus-ovn-{uuid.uuid4().hex[:8]}"
    sh("ip", "netns", "add", name)
    try:
        sh("ip", "-n", name, "link", "set", "lo", "up")
        yield name
    finally:
        sh("ip", "netns", "del", name)


@contextmanager
def inside(name: str) -> Iterator[None]:
    """Be in a namespace with this thread, and thus with the threads and processes it starts."""
    with open("/proc/thread-self/ns/net") as before, open(f"/run/netns/{name}") as there:
        setns(there.fileno())
        try:
            yield
        finally:
            setns(before.fileno())


def call_in(name: str, function: Callable[[], T]) -> T:
    """Call a function inside a namespace, on a thread of its own."""
    result: Future[T] = Future()

    def run() -> None:
        try:
            with inside(name):
                result.set_result(function())
        except BaseException as error:
            result.set_exception(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return result.result()


class World:
    """The specifications of one network with one subnet and as many ports as asked for."""

    def __init__(self, revision: int = 1) -> None:
        self.network_id, self.subnet_id, self.metadata_id = (str(uuid.uuid4()) for _ in range(3))
        self.project_id = uuid.uuid4().hex
        self.revision = revision

    def fixed_ip(self, last: int) -> tuple[FixedIP, ...]:
        return (FixedIP(subnet_id=self.subnet_id, ip_address=f"10.55.0.{last}", prefix_length=24),)

    def network(self, **changes: Any) -> NetworkSpec:
        subnet = SubnetSpec(
            id=self.subnet_id,
            cidr="10.55.0.0/24",
            ip_version=4,
            gateway_ip="10.55.0.1",
            host_routes=({"destination": "10.66.0.0/16", "nexthop": "10.55.0.9"},),
        )
        metadata_port = PortSpec(
            id=self.metadata_id,
            network_id=self.network_id,
            project_id=self.project_id,
            mac_address="fa:16:3e:55:00:02",
            revision=1,
            device_owner="network:distributed",
            fixed_ips=self.fixed_ip(2),
        )
        columns: dict[str, Any] = {
            "id": self.network_id,
            "name": "net",
            "project_id": self.project_id,
            "mtu": 1400,
            "revision": self.revision,
            "subnets": (subnet,),
            "metadata_port": metadata_port,
        }
        return NetworkSpec(**(columns | changes))

    def group(self, *rules: RuleSpec, group_id: str | None = None, revision: int = 1) -> SecurityGroupSpec:
        return SecurityGroupSpec(
            id=group_id or str(uuid.uuid4()),
            name="group",
            project_id=self.project_id,
            revision=revision,
            rules=rules,
        )

    def wiring(self, last: int, *groups: SecurityGroupSpec, **changes: Any) -> Wiring:
        columns: dict[str, Any] = {
            "id": str(uuid.uuid4()),
            "network_id": self.network_id,
            "project_id": self.project_id,
            "mac_address": f"fa:16:3e:55:00:{last:02x}",
            "revision": 1,
            "fixed_ips": self.fixed_ip(last),
            "security_group_ids": tuple(group.id for group in groups),
            "device_id": str(uuid.uuid4()),
            "device_owner": "compute:nova",
            "host": HOST,
        }
        port = PortSpec(**(columns | changes))
        return Wiring(port=port, network=self.network(), security_groups=groups)


def shared_socket(state: Path) -> Path:
    """Where the control plane finds the northbound database."""
    return state / "run" / "northbound.sock"


def network(state: Path) -> OvnNetwork:
    """The driver as an agent has it; the group `nogroup` is the control plane's."""
    shared_socket(state).parent.mkdir(exist_ok=True)
    return OvnNetwork(state, HOST, northbound=shared_socket(state), group=grp.getgrnam("nogroup").gr_gid)


def rule(direction: str = "ingress", **columns: Any) -> RuleSpec:
    return RuleSpec(id=str(uuid.uuid4()), direction=direction, **({"ethertype": "IPv4"} | columns))


def guest_port(wiring: Wiring) -> GuestPort:
    """What of a wiring its host is told."""
    return GuestPort(port=wiring.port, network=wiring.network)


def plug(state: Path, wiring: Wiring, tap: str, guest: str) -> None:
    """What libvirt and QEMU do: make the tap, put it on br-int under the port's id (see add_port)."""
    mac = wiring.port.mac_address
    sh("ip", "link", "add", tap, "type", "veth", "peer", "name", "eth0", "address", mac, "netns", guest)
    sh("ip", "link", "set", tap, "up")
    sh("ip", "-n", guest, "link", "set", "eth0", "mtu", str(wiring.network.mtu), "up")
    sh("ip", "netns", "exec", guest, "ethtool", "-K", "eth0", "tx", "off")
    add_port(state, wiring, tap)


def add_port(state: Path, wiring: Wiring, tap: str) -> None:
    """Put a tap on br-int under the port's id, in place of what was there of it."""
    database = f"--db=unix:{state}/openvswitch/run/db.sock"
    replace = ("--", "--if-exists", "del-port", tap, "--", "add-port", "br-int", tap)
    set_id = ("--", "set", "Interface", tap, f"external_ids:iface-id={wiring.port.id}")
    sh("ovs-vsctl", database, "--timeout=20", *replace, *set_id)


def lease(guest: str, mac: str) -> dict[int, bytes]:
    """Discover and request an address by DHCP (RFC 2131); option 0 holds the address given."""

    def ask() -> dict[int, bytes]:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0\0")
            client.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            client.settimeout(5)
            client.bind(("0.0.0.0", 68))
            offer = _exchange(client, mac, bytes([53, 1, 1]))
            assert offer[53] == b"\x02"
            wanted = bytes([53, 1, 3, 50, 4]) + offer[0] + bytes([54, 4]) + offer[54]
            answer = _exchange(client, mac, wanted)
            assert answer[53] == b"\x05", answer
            return answer

    return call_in(guest, ask)


def _exchange(client: socket.socket, mac: str, options: bytes) -> dict[int, bytes]:
    xid = os.urandom(4)
    hardware = bytes.fromhex(mac.replace(":", ""))
    head = struct.pack("!BBBB4sHH16x16s64x128x4s", 1, 1, 6, 0, xid, 0, 0x8000, hardware, b"\x63\x82\x53\x63")
    asked = bytes([55, 6, 1, 3, 6, 15, 26, 121])
    client.sendto(head + options + asked + b"\xff", ("255.255.255.255", 67))
    while True:
        reply = client.recv(2000)
        if reply[4:8] == xid:
            break
    result, rest = {0: reply[16:20]}, reply[240:]
    while rest and rest[0] != 255:
        if rest[0] == 0:  # padding
            rest = rest[1:]
            continue
        result[rest[0]] = rest[2 : 2 + rest[1]]
        rest = rest[2 + rest[1] :]
    return result


def configure(guest: str, answer: dict[int, bytes]) -> None:
    """Do with a lease what a DHCP client does: address, and the routes of option 121 (RFC 3442)."""
    sh("ip", "-n", guest, "addr", "add", f"{socket.inet_ntoa(answer[0])}/24", "dev", "eth0")
    for destination, via in routes(answer[121]):
        sh("ip", "-n", guest, "route", "replace", destination, "via", via)


def routes(option: bytes) -> list[tuple[str, str]]:
    found = []
    while option:
        size = (option[0] + 7) // 8
        network = socket.inet_ntoa(option[1 : 1 + size].ljust(4, b"\0"))
        found.append((f"{network}/{option[0]}", socket.inet_ntoa(option[1 + size : 5 + size])))
        option = option[5 + size :]
    return found


def tcp_answers(guest: str, address: str, port: int, timeout_s: float = 1.0) -> bool:
    def connect() -> bool:
        try:
            with socket.create_connection((address, port), timeout_s):
                return True
        except TimeoutError:
            return False

    return call_in(guest, connect)


def resolve(guest: str, server: str, name: str) -> str:
    """Ask a DNS server for an A record (RFC 1035) and return the address of its last answer."""
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    question = struct.pack("!HHHHHH", 7, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!HH", 1, 1)

    def ask() -> str:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(5)
            client.sendto(question, (server, 53))
            return socket.inet_ntoa(client.recv(600)[-4:])

    return call_in(guest, ask)


def lease6(guest: str, mac: str) -> bytes:
    """Solicit an address by DHCPv6 (RFC 8415) and return the whole answer."""
    client_id = struct.pack("!HHHH", 1, 10, 3, 1) + bytes.fromhex(mac.replace(":", ""))
    solicit = b"\x01abc" + client_id + struct.pack("!HHIII", 3, 12, 1, 0, 0)

    def ask() -> bytes:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as client:
            client.settimeout(0.5)
            client.bind(("::", 546))
            for _ in range(20):
                try:  # the link-local address is tentative at first (RFC 4862)
                    client.sendto(solicit, ("ff02::1:2", 547, 0, socket.if_nametoindex("eth0")))
                    return client.recv(2000)
                except OSError:
                    time.sleep(0.3)
        raise TimeoutError("no DHCPv6 answer")

    return call_in(guest, ask)


def ping(guest: str, address: str) -> bool:
    """One ICMP echo (RFC 792)."""
    body = struct.pack("!HHHH", 0x0800, 0, 1, 1)
    check = 0xFFFF - sum(struct.unpack("!4H", body))
    echo = struct.pack("!HHHH", 0x0800, check, 1, 1)

    def ask() -> bool:
        with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as client:
            client.settimeout(2)
            client.sendto(echo, (address, 0))
            try:
                return client.recv(100)[20] == 0
            except TimeoutError:
                return False

    return call_in(guest, ask)


def listen(guest: str, port: int) -> socket.socket:
    """A TCP server in a guest that nobody has to accept on."""
    return call_in(guest, lambda: socket.create_server(("", port)))


def soon(true: Callable[[], bool], timeout_s: float = 10.0) -> bool:
    deadline = time.monotonic() + timeout_s
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


@dataclass
class Host:
    """A host with the driver running, what its metadata service heard, and the control plane's northbound database."""

    state: Path
    driver: OvnNetwork
    heard: list[tuple[str, str]] = field(default_factory=list)
    listening: list[str] = field(default_factory=list)
    northbound: OvnNorthbound = field(init=False)

    def __post_init__(self) -> None:
        self.northbound = OvnNorthbound(f"unix:{shared_socket(self.state)}")

    def start(self) -> None:
        self.driver = network(self.state)
        self.driver.start(self.listen)

    def listen(self, network_id: str, listening: socket.socket) -> None:
        """A metadata service as small as can be: tells each client its own address."""
        self.listening.append(network_id)

        def serve() -> None:
            with listening:
                while True:
                    try:
                        client, (address, _) = listening.accept()
                    except OSError:
                        return
                    self.heard.append((network_id, address))
                    with client:
                        client.recv(4000)
                        client.sendall(f"HTTP/1.0 200 OK\r\n\r\n{address}".encode())

        threading.Thread(target=serve, daemon=True).start()

    def pids(self) -> dict[str, int | None]:
        return {daemon.pidfile.stem: daemon.pid() for daemon in self.driver._daemons._daemons}

    def nb(self, *arguments: str) -> str:
        return sh("ovn-nbctl", f"--db=unix:{self.state}/ovn/ovnnb_db.sock", *arguments)

    def rows(self, table: str) -> list[Row]:
        """All rows of a table of the northbound database."""
        return self.northbound.database.look(lambda replica: replica.rows(table))

    def switch(self, *arguments: str) -> str:
        return sh("ovs-vsctl", f"--db=unix:{self.state}/openvswitch/run/db.sock", "--timeout=20", *arguments)

    def boot(self, wiring: Wiring, guest: str) -> None:
        """Bring a guest's port up and give it its lease."""
        self.northbound.sync_port(wiring)
        self.driver.prepare_host(guest_port(wiring))
        plug(self.state, wiring, self.driver.tap_name(wiring.port.id), guest)
        self.driver.await_up([wiring.port.id], 30, Timeline())
        configure(guest, lease(guest, wiring.port.mac_address))
