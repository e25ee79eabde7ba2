"""The fake hypervisor itself: its hosts, and commands to guests that stay where they are."""

from __future__ import annotations

import io
import socket
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from pileus.agent.commands import (
    AttachPort,
    BuildGuest,
    DetachPort,
    DiscardGuest,
    HostReport,
    Inventory,
    PauseGuest,
    PowerState,
    RebootGuest,
    ResumeGuest,
    SnapshotGuest,
    StartGuest,
    StopGuest,
    SuspendGuest,
    UnpauseGuest,
    UpdateInstanceData,
)
from pileus.agent.errors import CommandFailed
from pileus.agent.hypervisor.base import GuestListener, Result, has_agent
from pileus.agent.hypervisor.fake.cold_moves import FakeColdMoves
from pileus.agent.hypervisor.fake.evacuation import FakeEvacuation
from pileus.agent.hypervisor.fake.guests import replace
from pileus.agent.hypervisor.fake.live import FakeLiveMoves
from pileus.agent.network.base import Network
from pileus.agent.storage import qcow2
from pileus.agent.storage.uploads import Uploads
from pileus.agent.timeline import Timeline

VCPUS, MEMORY_MIB, DISK_GIB = 64, 256 * 1024, 4096
"""What each simulated host has."""
STAGES = ("prepare network", "fetch image", "inspect and convert image", "create disk", "console", "define guest")


class FakeHypervisor(FakeColdMoves, FakeEvacuation, FakeLiveMoves):
    """Implements Hypervisor."""

    def __init__(
        self, state: Path, network: Network, hosts: int, uploads: Uploads | None = None, suffix: str = ""
    ) -> None:
        super().__init__(state, network, hosts, suffix)
        self._uploads = uploads or Uploads(None)

    @property
    def confinement(self) -> str:
        return "nothing runs"

    def start(self, listener: GuestListener) -> None:
        self._root.mkdir(parents=True, exist_ok=True)
        self._uploads.clear()

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

    # --- commands ---------------------------------------------------------------------------------------------

    def build(self, host: str, command: BuildGuest, timeline: Timeline) -> Result:
        behaviour = self._behaviour()
        for name in STAGES:
            with timeline.stage(name):
                pass
        time.sleep(float(behaviour.get("build_s", 0)))
        if reason := behaviour.get("fail_build", {}).get(host):
            raise CommandFailed("hypervisor", reason)
        return self._run(host, command.guest, command.plug_timeout_s, timeline)

    def discard(self, host: str, command: DiscardGuest, timeline: Timeline) -> Result:
        server_id = command.server_id
        with timeline.stage("destroy guest"):
            self._memory(host, server_id).unlink(missing_ok=True)
            self._saved(host, server_id).unlink(missing_ok=True)
            (self._root / host / server_id).unlink(missing_ok=True)
            for moving in (self._coming(host, server_id), self._leaving(host, server_id)):
                moving.unlink(missing_ok=True)
            if command.stash:
                self._stash(host, server_id).unlink(missing_ok=True)
        with timeline.stage("unplug port"):
            pass
        return None

    def power_on(self, host: str, command: StartGuest, timeline: Timeline) -> Result:
        self._begin(host, command)
        return self._run(host, command.guest, command.plug_timeout_s, timeline)

    def power_off(self, host: str, command: StopGuest, timeline: Timeline) -> Result:
        self._begin(host, command)
        return self._set(host, command.server_id, PowerState.SHUTDOWN)

    def reboot(self, host: str, command: RebootGuest, timeline: Timeline) -> Result:
        self._begin(host, command)
        return self._run(host, command.guest, command.timeout_s, timeline)

    def pause(self, host: str, command: PauseGuest, timeline: Timeline) -> Result:
        self._begin(host, command, PowerState.RUNNING, PowerState.PAUSED)
        with timeline.stage("pause guest"):
            return self._set(host, command.server_id, PowerState.PAUSED)

    def unpause(self, host: str, command: UnpauseGuest, timeline: Timeline) -> Result:
        self._begin(host, command, PowerState.RUNNING, PowerState.PAUSED)
        with timeline.stage("unpause guest"):
            return self._set(host, command.server_id, PowerState.RUNNING)

    def suspend(self, host: str, command: SuspendGuest, timeline: Timeline) -> Result:
        saved = self._saved(host, command.server_id)
        if not saved.exists():
            self._begin(host, command, PowerState.RUNNING, PowerState.PAUSED)
        with timeline.stage("suspend guest"):
            replace(saved, b"")
            return self._set(host, command.server_id, PowerState.SHUTDOWN)

    def resume(self, host: str, command: ResumeGuest, timeline: Timeline) -> Result:
        self._begin(host, command)
        if self._saved(host, command.subject).exists():
            with timeline.stage("restore memory"):
                pass
        return self._run(host, command.guest, command.plug_timeout_s, timeline)

    def snapshot(self, host: str, command: SnapshotGuest, timeline: Timeline) -> Result:
        """An image of a disk that was never written to."""
        if command.disk_format != "qcow2":
            raise CommandFailed("unsupported", f"this host makes no images of format {command.disk_format}")
        self._uploads.check(command.location)
        self._begin(host, command)
        with timeline.stage("copy disk") as detail:
            detail["image"] = command.image_id
            size = (self.remembered(host, command.server_id).root_gib or 1) << 30
            image = qcow2.blank(size)
        delivered = self._uploads.deliver(io.BytesIO(image), len(image), command.location, timeline)
        return {**msgspec.structs.asdict(delivered), "virtual_size": size}

    def attach_port(self, host: str, command: AttachPort, timeline: Timeline) -> Result:
        state = self._begin(host, command)
        if command.port_id not in (wiring.port.id for wiring in command.guest.ports):
            raise CommandFailed("invalid", "the port to attach is none of the server's")
        self._check_not_saved(host, command.subject)
        self._remember(host, command.guest)
        with timeline.stage("attach port") as detail:
            detail["port"] = command.port_id
        if state != PowerState.SHUTDOWN:
            self._network.await_up([command.port_id], command.plug_timeout_s, timeline)
        return None

    def detach_port(self, host: str, command: DetachPort, timeline: Timeline) -> Result:
        if self._begin(host, command) == PowerState.PAUSED:
            raise CommandFailed("guest-paused", "the server is paused and cannot let go of its port")
        self._check_not_saved(host, command.subject)
        with timeline.stage("detach port") as detail:
            detail["port"] = command.port.port.id
        with timeline.stage("unplug port"):
            self._network.unplug([command.port.port.id])
        self._remember(host, command.guest)
        return None

    def update_data(self, host: str, command: UpdateInstanceData, timeline: Timeline) -> Result:
        """Nobody reads a fake guest's metadata; it is remembered."""
        if (self._root / host / command.subject).exists():
            self._remember(host, command.guest)
        return None

    # --- other hosts -------------------------------------------------------------------------------------------

    def handed_over(self, to: str, server_id: str, file: str, key: str = "") -> Path:
        raise CommandFailed("no-such-guest", "simulated guests have no disks")

    def carry(
        self, source: str, server_id: str, way: str, there: socket.socket, begin: Callable[[], None], key: str = ""
    ) -> None:
        raise CommandFailed("no-such-guest", "simulated guests have nothing to carry")

    def gone(self, source: str, server_id: str, key: str = "") -> None:
        raise CommandFailed("no-such-guest", "simulated guests go on when their hosts are told so")

    # --- questions --------------------------------------------------------------------------------------------

    def console(self, host: str, server_id: str, lines: int | None) -> str:
        if not (self._root / host / server_id).exists():
            raise CommandFailed("no-guest", f"Instance {server_id} has no console")
        text = ["fake hypervisor", f"guest {server_id}", "login: "]
        return "\n".join(text if lines is None else text[len(text) - min(lines, len(text)) :])

    def set_password(self, host: str, server_id: str, user: str, password: str) -> None:
        """There is nobody to tell; a guest whose image says that it has an agent is told all the same."""
        guest = self._require(host, server_id)
        if guest != PowerState.RUNNING:
            raise CommandFailed("not-running", "the server does not run")
        if not has_agent(self.remembered(host, server_id)):
            raise CommandFailed("no-guest-agent", "the server has no guest agent, or it does not answer")

    # --- upkeep -----------------------------------------------------------------------------------------------

    def housekeep(self) -> None:
        """Fake guests write no console logs."""

    def stop(self, keep_guests: bool) -> None:
        if not keep_guests:
            for host in self._hosts:
                for path in self._guests(host):
                    self._set(host, path.name, PowerState.SHUTDOWN)
