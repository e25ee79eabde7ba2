"""What tests with a real libvirtd and QEMU share: a host over a state directory, without a network.

Needs root, libvirt, QEMU and the test image (by tools/build-test-image.sh; PILEUS_TEST_IMAGE is its path)."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pileus.agent.account import Account
from pileus.agent.commands import (
    Command,
    GuestPort,
    PowerState,
)
from pileus.agent.errors import CommandFailed
from pileus.agent.storage.uploads import Uploads
from pileus.agent.timeline import Timeline
from pileus.users import system_user

IMAGE = Path(os.environ.get("PILEUS_TEST_IMAGE", "build/tiny/tiny.qcow2"))
REPOSITORY = Path(__file__).parents[2]
HOST = "real1"
RUNNING, PAUSED, SHUTDOWN = (
    {"power_state": state} for state in (PowerState.RUNNING, PowerState.PAUSED, PowerState.SHUTDOWN)
)

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not IMAGE.exists() or not shutil.which("libvirtd"),
    reason="needs root, libvirtd and the test image",
)


class StubNetwork:
    """A network that does nothing but write down what it was asked; ports can be made never to come up."""

    kind = "stub"

    def __init__(self) -> None:
        self.asked: list[tuple[str, object]] = []
        self.broken = False

    def prepare_host(self, wiring: GuestPort) -> None:
        self.asked.append(("prepare", wiring.port.id))

    def interface_xml(self, wiring: GuestPort) -> str:
        self.asked.append(("plug", wiring.port.id))
        mac = wiring.port.mac_address
        return f"<interface type='user'><mac address='{mac}'/><model type='virtio'/></interface>"

    def await_up(self, port_ids: list[str], timeout_s: float, timeline: Timeline) -> None:
        self.asked.append(("await", tuple(port_ids)))
        if self.broken:
            raise CommandFailed("plug-timeout", f"port {port_ids[0]} did not come up")

    def unplug(self, port_ids: list[str]) -> None:
        self.asked.append(("unplug", tuple(port_ids)))

    def release_host(self, network_ids: list[str]) -> None:
        self.asked.append(("release", tuple(network_ids)))


@contextmanager
def state_folder() -> Iterator[Path]:
    """A folder for a state; guests are users of their own, who can enter no folder of pytest's."""
    with tempfile.TemporaryDirectory(prefix="pileus-test-", dir="/var/tmp", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o711)
        yield Path(folder)


class Cloud:
    """A hypervisor over a state directory, and what it told its listener."""

    def __init__(self, state: Path, host: str = HOST) -> None:
        from pileus.agent.hypervisor.libvirt import LibvirtHypervisor

        self.host = host
        self.told: list[tuple[str, str, int]] = []
        self.network = StubNetwork()
        self.uploads = state / "incoming"
        self.uploads.mkdir(exist_ok=True)
        self.hypervisor = LibvirtHypervisor(
            state,
            self.network,  # type: ignore[arg-type]
            host,
            uploads=Uploads(self.uploads),
            account=Account.of(system_user("pileus-guest", group="kvm").pw_name),
        )
        started = time.monotonic()
        self.hypervisor.start(lambda *news: self.told.append(news))
        print(f"hypervisor start: {time.monotonic() - started:.2f} s")

    def do(self, command: Command, timeline: Timeline | None = None) -> dict[str, Any] | None:
        """Carry a command out, as the executor does."""
        method: Callable[..., dict[str, Any] | None] = getattr(self.hypervisor, command.method)
        return method(self.host, command, timeline or Timeline())

    def console(self, server_id: str) -> str:
        return self.hypervisor.console(self.host, server_id, None)

    def power(self, server_id: str) -> int | None:
        return self.guests().get(server_id)

    def guests(self) -> dict[str, int | None]:
        """Power states of all that is reported, by server id."""
        return {guest.server_id: guest.power_state for guest in self.hypervisor.reports()[0].guests}


def until(condition: Callable[[], bool], timeout_s: float = 300.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.1)
