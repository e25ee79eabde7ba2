"""A whole cloud on real QEMU and OVN, and what of it can be seen on the machine."""

from __future__ import annotations

import base64
import os
import re
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any

from openstack.connection import Connection
from openstack.exceptions import HttpException
from requests.exceptions import ConnectionError as NoConnection

from pileus.agent.daemons import pid_of
from tests.real.ovn_world import sh
from tests.support import CloudUnderTest, eventually

IMAGE = Path(os.environ.get("PILEUS_TEST_IMAGE", "build/tiny/tiny.qcow2"))
GUEST_S = 120.0
"""How long a guest may take for anything: a busy machine emulates slowly."""


class RealCloud(CloudUnderTest):
    """A cloud in a network namespace of its own; the calling thread must be inside it."""

    def __init__(self, netns: str) -> None:
        super().__init__(None, netns=netns)

    # --- servers --------------------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Image and network that every test uses."""
        self.admin: Connection = self.connect("admin")
        self.demo: Connection = self.connect("demo")
        self.image = self.upload("tiny", IMAGE.read_bytes())
        self.network = self.add_network("net", "10.7.0.0/24")

    def upload(self, name: str, data: bytes, disk_format: str = "qcow2") -> str:
        """A public image's id."""
        made = self.admin.image.create_image(
            name=name, disk_format=disk_format, container_format="bare", visibility="public", data=data
        )
        return str(made.id)

    def add_network(self, name: str, cidr: str) -> str:
        """The id of a network of demo's, with a subnet."""
        made = self.demo.network.create_network(name=name)
        self.demo.network.create_subnet(network_id=made.id, name=name, ip_version=4, cidr=cidr)
        return str(made.id)

    def flavor(self, name: str, **columns: int) -> str:
        """The id of a flavor that suits the test guest."""
        return str(self.admin.compute.create_flavor(**{"name": name, "ram": 128, "vcpus": 1, "disk": 1} | columns).id)

    def boot(self, name: str, script: str = "", **columns: Any) -> str:
        """Ask for a server; `script` is its user data. Returns the id at once."""
        known = {"image_id": self.image, "flavor_id": self.nano, "networks": [{"uuid": self.network}]}
        if script:
            known["user_data"] = base64.b64encode(f"#!/bin/sh\n{script}\n".encode()).decode()
        return str(self.demo.compute.create_server(name=name, **known | columns).id)

    @property
    def nano(self) -> str:
        return str(self.admin.compute.find_flavor("m1.nano", ignore_missing=False).id)

    def server(self, server_id: str) -> Any:
        return self.admin.compute.get_server(server_id)

    def settled(self, server_id: str, status: str = "ACTIVE") -> Any:
        """The server once nothing is under way on it; its status must be `status`."""

        def look() -> Any:
            server = self.server(server_id)
            return server if server.task_state is None and server.status != "BUILD" else None

        server = eventually(look, GUEST_S, f"the end of what is under way on {server_id}")
        assert server.status == status, (
            f"{server.status} {server.fault} {self.pileus('trace', server_id)} {self.log()[-3000:]}"
        )
        return server

    def becomes(self, server_id: str, status: str) -> None:
        """Wait for a status that comes without being asked for."""
        eventually(lambda: self.server(server_id).status == status, GUEST_S, f"status {status} of {server_id}")

    def console(self, server_id: str) -> str:
        """What the guest printed; nothing while the agent is away."""
        try:
            return str(self.demo.compute.get_server_console_output(server_id)["output"])
        except HttpException as error:
            if error.status_code == 503:
                return ""
            raise

    def says(self, server_id: str, pattern: str, times: int = 1) -> list[Any]:
        """Wait until the console matches `pattern` that often; returns all matches."""

        def look() -> list[Any]:
            found = re.findall(pattern, self.console(server_id), re.MULTILINE)
            return found if len(found) >= times else []

        try:
            return list(eventually(look, GUEST_S, f"{pattern!r} on the console"))
        except AssertionError as error:
            raise AssertionError(f"{error}; it says {self.console(server_id)[-2000:]}") from None

    def last_said(self, server_id: str, pattern: str, wanted: str) -> None:
        """Wait until the last match of `pattern` on the console is `wanted`."""

        def look() -> bool:
            return re.findall(pattern, self.console(server_id))[-1:] == [wanted]

        try:
            eventually(look, GUEST_S, f"{wanted!r} as the last on the console")
        except AssertionError as error:
            raise AssertionError(f"{error}; it says {self.console(server_id)[-2000:]}") from None

    def delete(self, *server_ids: str) -> None:
        """Delete servers and wait until they are gone."""
        for server_id in server_ids:
            self.demo.compute.delete_server(server_id, ignore_missing=True)
        for server_id in server_ids:
            self.gone(server_id)

    def gone(self, server_id: str) -> None:
        def look() -> bool:
            try:
                return self.admin.compute.find_server(server_id, ignore_missing=True) is None
            except (HttpException, NoConnection):
                return False

        eventually(look, GUEST_S, f"the end of server {server_id}")

    # --- what is on the machine -------------------------------------------------------------------------------------

    @property
    def agent(self) -> Path:
        return self.state / "agent"

    def commanded(self, server_id: str, kind: str) -> bool:
        """Whether the host has got a command of this kind of operation on the server."""
        (row,) = self.query(f"SELECT id FROM operations WHERE subject_id = '{server_id}' AND kind = '{kind}'")
        with closing(sqlite3.connect(self.agent / "journal.db")) as journal:
            return bool(journal.execute("SELECT 1 FROM attempts WHERE operation_id = ?", (row[0],)).fetchone())

    def virsh(self, *arguments: str) -> str:
        return sh("virsh", "-c", f"qemu+unix:///system?socket={self.agent}/libvirt/run/libvirt-sock", *arguments)

    def nbctl(self, *arguments: str) -> str:
        return sh("ovn-nbctl", f"--db=unix:{self.agent}/ovn/ovnnb_db.sock", *arguments)

    def vsctl(self, *arguments: str) -> str:
        return sh("ovs-vsctl", f"--db=unix:{self.agent}/openvswitch/run/db.sock", *arguments)

    def processes(self, word: str = "") -> set[int]:
        """Pids of this cloud's living processes whose command line has `word`."""
        found = set()
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if str(self.state) in command + _room(folder, command) and word in command:
                found.add(int(folder.name))
        return found

    def process(self, program: str) -> int | None:
        """The pid of one of this cloud's daemons, or of its agent."""
        if program == "agent":
            return next((child for child in self.children if _user_of(child) == 0), None)
        found = [*self.agent.glob(f"*/run/{program}.pid"), *self.agent.glob(f"*/{program}.pid")]
        return pid_of(found[0], program) if found else None

    def qemu(self, server_id: str) -> int:
        """The pid of a server's QEMU."""
        (pid,) = self.processes(f"-uuid {server_id}")
        return pid

    def traces(self) -> dict[str, set[str]]:
        """Everything that guests leave on a machine and in the databases, by kind."""
        ports = self.nbctl("--bare", "--no-headings", "--columns=name", "find", "Logical_Switch_Port", 'type=""')
        links = sh("ip", "-o", "link")
        return {
            "domains": set(self.virsh("list", "--all", "--uuid").split()),
            "qemu": {str(pid) for pid in self.processes("qemu-system")},
            "directories": {path.name for path in (self.agent / "instances").iterdir()},
            "instance data": {path.stem for path in (self.agent / "metadata").iterdir()},
            "bridge ports": set(self.vsctl("list-ports", "br-int").split()),
            "links": set(re.findall(r"^\d+: (tap[^:@]+)", links, re.MULTILINE)),
            "namespaces": {line for line in sh("ip", "netns").split() if line.startswith("ovnmeta-")} & self._ours(),
            "logical ports": set(ports.split()),
            "ports": {row[0] for row in self.query("SELECT id FROM ports WHERE device_owner LIKE 'compute:%'")},
            "consumers": {row[0] for row in self.query("SELECT id FROM consumers")},
            "allocations": {str(row[0]) for row in self.query("SELECT consumer_id FROM allocations")},
        }

    def _ours(self) -> set[str]:
        """Other clouds of this machine have namespaces too."""
        return {f"ovnmeta-{row[0]}" for row in self.query("SELECT id FROM networks")}

    def assert_nothing_left(self) -> None:
        """As if there never had been a server."""

        def left() -> dict[str, set[str]]:
            return {kind: found for kind, found in self.traces().items() if found}

        try:
            eventually(lambda: not left(), 30, "a clean machine")
        except AssertionError:
            raise AssertionError(f"left over: {left()}") from None
        assert not self.query("SELECT kind, state FROM operations WHERE finished_at IS NULL")

    def assert_holds_exactly(self, *server_ids: str) -> None:
        """What belongs to these servers, each with one port, and nothing of any other."""
        eventually(lambda: not self.query("SELECT name FROM debts"), 20, "what hosts and the network are owed")
        found, wanted = self.traces(), set(server_ids)
        for kind in ("domains", "directories", "instance data", "consumers"):
            assert found[kind] == wanted, kind
        assert len(found["qemu"]) == len(wanted)
        assert found["logical ports"] == found["ports"] and len(found["ports"]) == len(wanted)
        taps = {f"tap{port[:11]}" for port in found["ports"]}
        assert taps <= found["bridge ports"] and taps <= found["links"]
        assert len(found["bridge ports"]) == len(taps) + len(found["namespaces"]) == len(found["links"])

    def remove(self) -> None:
        """Also when a test left things in a bad way: nothing of this cloud goes on running."""
        super().remove()
        for pid in self.processes():
            subprocess.run(["kill", "-9", str(pid)], check=False)


def _user_of(pid: int) -> int | None:
    """Whose process that is; None: it has ended."""
    try:
        return Path(f"/proc/{pid}").stat().st_uid
    except FileNotFoundError:
        return None


def _room(process: Path, command: str) -> str:
    """What libvirtd, whose command line does not tell, has in its mount namespace."""
    if not command.startswith("libvirtd"):
        return ""
    try:
        return (process / "mountinfo").read_text()
    except OSError:
        return ""
