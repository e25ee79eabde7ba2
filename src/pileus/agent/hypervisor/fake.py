"""The fake hypervisor: stands for any number of hosts, keeps guests as files, takes no time and runs nothing.

For scale and API tests. `fake/behaviour.json` in the agent's state may make it slow or failing:
{"build_s": 0.1, "fail_build": {"fake-1": "the disk is broken"}}.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from pileus.agent.commands import GuestReport, GuestSpec, HostReport, Inventory, PowerState
from pileus.agent.errors import CommandFailed
from pileus.agent.hypervisor.base import GuestListener
from pileus.agent.ids import checked_id
from pileus.agent.network.base import Network
from pileus.agent.timeline import Timeline

VCPUS, MEMORY_MIB, DISK_GIB = 64, 256 * 1024, 4096
"""What each simulated host has."""
STAGES = ("prepare network", "fetch image", "inspect and convert image", "create disk", "console", "define guest")


class FakeHypervisor:
    """Implements Hypervisor. A guest is a file that holds its power state: like a real one it survives the agent.

    `fake/HOST/ID` is the guest, `fake/remembered/HOST/ID.json` what it was last built or changed with.
    """

    def __init__(self, state: Path, network: Network, hosts: int) -> None:
        self._root, self._network = state / "fake", network
        self._hosts = [f"fake-{number + 1}" for number in range(hosts)]

    def start(self, listener: GuestListener) -> None:
        self._root.mkdir(parents=True, exist_ok=True)

    def reports(self) -> list[HostReport]:
        inventories = {
            "VCPU": Inventory(total=VCPUS, allocation_ratio=4.0),
            "MEMORY_MB": Inventory(total=MEMORY_MIB, reserved=512),
            "DISK_GB": Inventory(total=DISK_GIB),
        }
        return [
            HostReport(
                name=host,
                hypervisor_type="fake",
                hypervisor_version=1,
                host_ip="127.0.0.1",
                inventories=inventories,
                traits=("COMPUTE_IMAGE_TYPE_RAW", "COMPUTE_IMAGE_TYPE_QCOW2"),
                cpu_info={"arch": "x86_64"},
                guests=tuple(self._guest_reports(host)),
            )
            for host in self._hosts
        ]

    def build(self, host: str, guest: GuestSpec, plug_timeout_s: float, timeline: Timeline) -> int:
        behaviour = self._behaviour()
        for name in STAGES:
            with timeline.stage(name):
                pass
        time.sleep(float(behaviour.get("build_s", 0)))
        if reason := behaviour.get("fail_build", {}).get(host):
            raise CommandFailed("hypervisor", reason)
        self._network.await_up([wiring.port.id for wiring in guest.ports], plug_timeout_s, timeline)
        with timeline.stage("running"):
            return self._run(host, guest)

    def discard(self, host: str, server_id: str, timeline: Timeline) -> None:
        with timeline.stage("destroy guest"):
            self._memory(host, server_id).unlink(missing_ok=True)
            (self._root / host / server_id).unlink(missing_ok=True)
        with timeline.stage("unplug port"):
            pass

    def power_on(self, host: str, guest: GuestSpec, plug_timeout_s: float, timeline: Timeline) -> int:
        self._require(host, guest.server_id)
        return self._run(host, guest)

    def power_off(self, host: str, server_id: str, timeout_s: float, timeline: Timeline) -> int:
        self._require(host, server_id)
        return self._set(host, server_id, PowerState.SHUTDOWN)

    def reboot(self, host: str, guest: GuestSpec, hard: bool, timeout_s: float, timeline: Timeline) -> int:
        self._require(host, guest.server_id)
        return self._run(host, guest)

    def update_data(self, host: str, guest: GuestSpec) -> None:
        """Nobody reads a fake guest's metadata; it is remembered."""
        if (self._root / host / guest.server_id).exists():
            self._remember(host, guest)

    def console(self, host: str, server_id: str, lines: int | None) -> str:
        if not (self._root / host / server_id).exists():
            raise CommandFailed("no-guest", f"Instance {server_id} has no console")
        text = ["fake hypervisor", f"guest {server_id}", "login: "]
        return "\n".join(text if lines is None else text[len(text) - min(lines, len(text)) :])

    def remembered(self, host: str, server_id: str) -> GuestSpec:
        if host not in self._hosts:
            raise CommandFailed("no-such-host", f"This agent has no host {host}.")
        try:
            return msgspec.json.decode(self._memory(host, checked_id(server_id)).read_bytes(), type=GuestSpec)
        except (OSError, msgspec.DecodeError) as error:
            raise CommandFailed("no-guest", f"Host {host} remembers nothing of guest {server_id}.") from error

    def housekeep(self) -> None:
        """Fake guests write no console logs."""

    def stop(self, keep_guests: bool) -> None:
        if not keep_guests:
            for host in self._hosts:
                for path in self._guests(host):
                    self._set(host, path.name, PowerState.SHUTDOWN)

    def _require(self, host: str, server_id: str) -> None:
        if not (self._root / host / server_id).exists():
            raise CommandFailed("no-such-guest", "the server has no disk on this host")

    def _guests(self, host: str) -> list[Path]:
        folder = self._root / host
        return list(folder.iterdir()) if folder.is_dir() else []

    def _guest_reports(self, host: str) -> Iterator[GuestReport]:
        for path in self._guests(host):
            try:
                yield GuestReport(server_id=path.name, power_state=int(path.read_text()))
            except FileNotFoundError:
                continue  # discarded just now

    def _run(self, host: str, guest: GuestSpec) -> int:
        self._remember(host, guest)
        return self._set(host, guest.server_id, PowerState.RUNNING)

    def _set(self, host: str, server_id: str, power_state: int) -> int:
        _replace(self._root / host / server_id, str(power_state).encode())
        return power_state

    def _memory(self, host: str, server_id: str) -> Path:
        return self._root / "remembered" / host / f"{server_id}.json"

    def _remember(self, host: str, guest: GuestSpec) -> None:
        """Keep all of the specification but the password, as real hosts do."""
        data = msgspec.structs.replace(guest.data, admin_pass=None)
        _replace(self._memory(host, guest.server_id), msgspec.json.encode(msgspec.structs.replace(guest, data=data)))

    def _behaviour(self) -> dict[str, Any]:
        path = self._root / "behaviour.json"
        return dict(json.loads(path.read_text())) if path.exists() else {}


def _replace(path: Path, content: bytes) -> None:
    """Write a file at once, so that nobody reads half of it, or lists what is not whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.parent.parent / f"{path.parent.name}.{path.name}.new"
    fresh.touch(mode=0o600)
    fresh.write_bytes(content)
    fresh.replace(path)
