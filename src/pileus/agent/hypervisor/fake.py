"""The fake hypervisor: stands for any number of hosts, keeps guests as files, takes no time and runs nothing.

For scale and API tests. `fake/behaviour.json` in the agent's state may make it slow or failing:
{"build_s": 0.1, "fail_build": {"fake-1": "the disk is broken"}, "copy_s": 5, "migrate_s": 5,
"fail": {"snapshot": "the disk is full"}}, where "fail" names drivers' methods, with a reason, or with one for each host
that it fails on; {"shared": true}: all hosts see each other's disks.
"""

from __future__ import annotations

import io
import json
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from pileus.agent.commands import (
    AttachPort,
    BuildGuest,
    Command,
    DetachPort,
    DiscardGuest,
    DropStash,
    GuestReport,
    GuestSpec,
    HostReport,
    Inventory,
    PauseGuest,
    PowerState,
    PrepareGuest,
    RebootGuest,
    ReceiveGuest,
    RestoreGuest,
    ResumeGuest,
    SnapshotGuest,
    StartGuest,
    StashGuest,
    StopGuest,
    SuspendGuest,
    TakeOverGuest,
    UnpauseGuest,
    UpdateInstanceData,
)
from pileus.agent.errors import CommandFailed, require_shared
from pileus.agent.hypervisor.base import GuestListener, Result, has_agent
from pileus.agent.hypervisor.fake_live import FakeLiveMoves, replace
from pileus.agent.ids import checked_id
from pileus.agent.network.base import Network
from pileus.agent.storage import qcow2
from pileus.agent.storage.uploads import Uploads
from pileus.agent.timeline import Timeline

VCPUS, MEMORY_MIB, DISK_GIB = 64, 256 * 1024, 4096
"""What each simulated host has."""
STAGES = ("prepare network", "fetch image", "inspect and convert image", "create disk", "console", "define guest")


class FakeHypervisor(FakeLiveMoves):
    """Implements Hypervisor. A guest is a file that holds its power state: like a real one it survives the agent.

    `fake/HOST/ID` is the guest, `fake/remembered/HOST/ID.json` what it was last built or changed with,
    `fake/HOST.saved/ID` is there while its memory is saved, and `fake/HOST.stash/ID` what was set aside of it: the
    incarnation that this was.
    """

    def __init__(
        self, state: Path, network: Network, hosts: int, uploads: Uploads | None = None, suffix: str = ""
    ) -> None:
        super().__init__()
        self._root, self._network = state / "fake", network
        self._uploads = uploads or Uploads(None)
        self._hosts = [f"fake-{number + 1}{suffix}" for number in range(hosts)]

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
            self._coming(host, server_id).unlink(missing_ok=True)
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

    # --- moves ------------------------------------------------------------------------------------------------

    def stash(self, host: str, command: StashGuest, timeline: Timeline) -> Result:
        server_id = command.server_id
        self._refuse(host, command)
        if self._set_aside(host, server_id) != command.incarnation:
            self._require(host, server_id)
            with timeline.stage("power off"):
                self._saved(host, server_id).unlink(missing_ok=True)
            with timeline.stage("unplug port"):
                self._network.unplug([wiring.port.id for wiring in self.remembered(host, server_id).ports])
            with timeline.stage("set disk aside"):
                replace(self._stash(host, server_id), str(command.incarnation).encode())
        (self._root / host / server_id).unlink(missing_ok=True)
        return {"power_state": PowerState.SHUTDOWN, "files": ["disk"]}

    def receive(self, host: str, command: ReceiveGuest, timeline: Timeline) -> Result:
        """Disks that another agent's host has set aside are taken to be there."""
        self._refuse(host, command)
        if command.source in self._hosts and self._set_aside(command.source, command.subject) != command.set_aside:
            raise CommandFailed("no-such-guest", "nothing of the server was set aside")
        with timeline.stage("copy disk") as detail:
            detail["source"] = command.source
            time.sleep(float(self._behaviour().get("copy_s", 0)))
        with timeline.stage("define guest"):
            self._define(host, command.guest)
        return self._run_if(host, command.run, command.guest, command.plug_timeout_s, timeline)

    def restore(self, host: str, command: RestoreGuest, timeline: Timeline) -> Result:
        server_id = command.subject
        self._refuse(host, command)
        if self._set_aside(host, server_id) is None:
            return {"power_state": self._require(host, server_id)}
        with timeline.stage("restore disk"):
            self._define(host, command.guest)
        result = self._run_if(host, command.run, command.guest, command.plug_timeout_s, timeline)
        self._stash(host, server_id).unlink()
        return result

    def drop_stash(self, host: str, command: DropStash, timeline: Timeline) -> Result:
        self._refuse(host, command)
        set_aside = self._set_aside(host, command.server_id)
        if set_aside is not None and set_aside <= command.incarnation:
            with timeline.stage("remove disk"):
                self._stash(host, command.server_id).unlink()
        return None

    def prepare(self, host: str, command: PrepareGuest, timeline: Timeline) -> Result:
        self._refuse(host, command)
        require_shared(command.shared, shared := bool(self._behaviour().get("shared")))
        if not shared:
            self._define(host, command.guest)
        return {"shared": shared}

    def take_over(self, host: str, command: TakeOverGuest, timeline: Timeline) -> Result:
        self._refuse(host, command)
        if not command.shared:
            self._require(host, command.subject)
        return self._run_if(host, command.run, command.guest, command.plug_timeout_s, timeline)

    def handed_over(self, to: str, server_id: str, file: str) -> Path:
        raise CommandFailed("no-such-guest", "simulated guests have no disks")

    def carry(self, source: str, server_id: str, way: str, there: socket.socket, begin: Callable[[], None]) -> None:
        raise CommandFailed("no-such-guest", "simulated guests have nothing to carry")

    def gone(self, source: str, server_id: str) -> None:
        raise CommandFailed("no-such-guest", "simulated guests go on when their hosts are told so")

    # --- questions --------------------------------------------------------------------------------------------

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

    # --- how --------------------------------------------------------------------------------------------------

    def _begin(self, host: str, command: Command, *allowed: int) -> int:
        """The guest's power state, which must be one of those that are allowed, if any are named.

        Raises:
            CommandFailed: it is not, there is no such guest, or the command shall fail.
        """
        self._refuse(host, command)
        state = self._require(host, command.subject)
        if allowed and state not in allowed:
            raise CommandFailed("not-running", "the server does not run")
        return state

    def _refuse(self, host: str, command: Command) -> None:
        """Raises CommandFailed: the command shall fail, here or everywhere."""
        reason = self._behaviour().get("fail", {}).get(command.method)
        if reason := reason.get(host) if isinstance(reason, dict) else reason:
            raise CommandFailed("hypervisor", reason)

    def _require(self, host: str, server_id: str) -> int:
        try:
            return int((self._root / host / server_id).read_text())
        except FileNotFoundError:
            raise CommandFailed("no-such-guest", "the server has no disk on this host") from None

    def _check_not_saved(self, host: str, server_id: str) -> None:
        if self._saved(host, server_id).exists():
            raise CommandFailed("guest-suspended", "the server is suspended: its ports cannot change")

    def _guests(self, host: str) -> list[Path]:
        folder = self._root / host
        return list(folder.iterdir()) if folder.is_dir() else []

    def _guest_reports(self, host: str) -> Iterator[GuestReport]:
        for path in self._guests(host):
            try:
                yield GuestReport(server_id=path.name, power_state=int(path.read_text()))
            except FileNotFoundError:
                continue  # discarded just now
        for path in (*self._guests(f"{host}.stash"), *self._guests(f"{host}.coming")):
            if not (self._root / host / path.name).exists():
                yield GuestReport(server_id=path.name, power_state=None)

    def _run(self, host: str, guest: GuestSpec, plug_timeout_s: float, timeline: Timeline) -> Result:
        self._network.await_up([wiring.port.id for wiring in guest.ports], plug_timeout_s, timeline)
        with timeline.stage("running"):
            self._remember(host, guest)
            self._saved(host, guest.server_id).unlink(missing_ok=True)
            return self._set(host, guest.server_id, PowerState.RUNNING)

    def _define(self, host: str, guest: GuestSpec) -> Result:
        self._remember(host, guest)
        return self._set(host, guest.server_id, PowerState.SHUTDOWN)

    def _run_if(self, host: str, run: bool, guest: GuestSpec, plug_timeout_s: float, timeline: Timeline) -> Result:
        """Run a guest that is defined, if it is to run."""
        return self._run(host, guest, plug_timeout_s, timeline) if run else self._define(host, guest)

    def _set(self, host: str, server_id: str, power_state: int) -> Result:
        replace(self._root / host / server_id, str(power_state).encode())
        return {"power_state": power_state}

    def _memory(self, host: str, server_id: str) -> Path:
        return self._root / "remembered" / host / f"{server_id}.json"

    def _saved(self, host: str, server_id: str) -> Path:
        return self._root / f"{host}.saved" / server_id

    def _stash(self, host: str, server_id: str) -> Path:
        return self._root / f"{host}.stash" / server_id

    def _set_aside(self, host: str, server_id: str) -> int | None:
        """The incarnation that was set aside of a guest; None: nothing was."""
        try:
            return int(self._stash(host, server_id).read_text())
        except FileNotFoundError:
            return None

    def _remember(self, host: str, guest: GuestSpec) -> None:
        """Keep all of the specification but the password, as real hosts do."""
        data = msgspec.structs.replace(guest.data, admin_pass=None)
        replace(self._memory(host, guest.server_id), msgspec.json.encode(msgspec.structs.replace(guest, data=data)))

    def _behaviour(self) -> dict[str, Any]:
        path = self._root / "behaviour.json"
        return dict(json.loads(path.read_text())) if path.exists() else {}
