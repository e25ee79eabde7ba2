"""LibvirtHypervisor against a real libvirtd and QEMU: one guest through its whole life.

Needs root, libvirt, QEMU and the test image (by tools/build-test-image.sh; PILEUS_TEST_IMAGE is its path).
At most they have QEMU's user-mode network: run it in a network namespace of its own.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from pileus.agent.commands import (
    BuildGuest,
    DiscardGuest,
    GuestPort,
    GuestSpec,
    ImageSource,
    InstanceData,
    NetworkSpec,
    PortSpec,
    PowerState,
    RebootGuest,
    StartGuest,
    StopGuest,
    SubnetSpec,
    UpdateInstanceData,
)
from pileus.agent.errors import CommandFailed
from pileus.agent.timeline import Timeline
from tests.real.libvirt_world import (
    HOST,
    IMAGE,
    REPOSITORY,
    RUNNING,
    SHUTDOWN,
    Cloud,
    pytestmark,  # noqa: F401  # it is skipped where that is
    state_folder,
    until,
)

USER_DATA = b"#!/bin/sh\necho hello from user data\n"


@pytest.fixture(scope="module")
def state() -> Iterator[Path]:
    with state_folder() as folder:
        yield folder


@pytest.fixture(scope="module")
def cloud(state: Path) -> Iterator[Cloud]:
    cloud = Cloud(state)
    yield cloud
    cloud.hypervisor.stop(keep_guests=False)  # or it would start libvirtd again


@pytest.fixture(scope="module")
def guest() -> GuestSpec:
    content = IMAGE.read_bytes()
    image = ImageSource(
        id=str(uuid.uuid4()),
        location=f"file://{IMAGE.resolve()}",
        disk_format="qcow2",
        size_bytes=len(content),
        sha512=hashlib.sha512(content).hexdigest(),
    )
    data = InstanceData(
        hostname="real-guest",
        name="real <guest> & co",
        project_id="p",
        admin_pass="secret",
        user_data=base64.b64encode(USER_DATA).decode(),
    )
    return GuestSpec(
        server_id=str(uuid.uuid4()),
        instance_name="instance-00000001",
        vcpus=1,
        memory_mib=128,
        root_gib=1,
        ephemeral_gib=1,
        swap_mib=16,
        image=image,
        config_drive=True,
        data=data,
    )


def test_life_of_a_guest(cloud: Cloud, guest: GuestSpec, state: Path) -> None:
    """Build, log in, reboot, power cycle, restart of the agent and of libvirtd, discard."""
    hypervisor, server_id = cloud.hypervisor, guest.server_id
    logins = lambda: cloud.console(server_id).count("login:")  # noqa: E731

    timeline = Timeline()
    assert cloud.do(BuildGuest(guest=guest), timeline) == RUNNING
    for event in timeline.events():
        print(f"{event.name}: {event.finished - event.started:.3f} s {event.detail}")
    names = [event.name for event in timeline.events()]
    assert names == [
        *("fetch image", "inspect and convert image", "create disk", "config drive"),
        *("console", "define guest", "running"),
    ]
    until(lambda: logins() == 1)
    until(lambda: "tiny: cloud done" in cloud.console(server_id))
    console = cloud.console(server_id)
    assert f"instance-id {server_id} hostname real-guest source config-drive" in console
    assert "hello from user data" in console
    assert (state / "instances" / server_id / "console.log").stat().st_mode & 0o777 == 0o600

    kept_in(state, server_id, guest.instance_name)

    known = hypervisor.remembered(HOST, server_id)
    assert known == msgspec.structs.replace(guest, data=msgspec.structs.replace(guest.data, admin_pass=None))

    again = Timeline()
    assert cloud.do(BuildGuest(guest=guest), again) == RUNNING  # a command that was sent twice
    assert again.events() == ()

    assert cloud.do(RebootGuest(guest=guest, hard=False)) == RUNNING
    assert "tiny: power button" in cloud.console(server_id)
    until(lambda: logins() == 2)
    assert cloud.do(StopGuest(server_id=server_id)) == SHUTDOWN
    assert cloud.console(server_id).count("tiny: power button") == 2
    assert cloud.do(StartGuest(guest=guest)) == RUNNING
    until(lambda: logins() == 3)
    assert cloud.told == [], "what commands do is no news"


def kept_in(state: Path, server_id: str, name: str) -> None:
    """A guest's QEMU is a user of its own, without rights, that sees little of the machine (issue 7, item 16)."""
    process = Path("/proc") / (state / "libvirt" / "run" / "qemu" / f"{name}.pid").read_text()
    status = dict(line.split(":\t", 1) for line in (process / "status").read_text().splitlines() if ":\t" in line)
    uids, gids = ({int(one) for one in status[name].split()} for name in ("Uid", "Gid"))
    assert uids == {int((state / "instances" / server_id / "user").read_text())} and 0 not in gids
    assert int(status["CapEff"], 16) == 0 and int(status["CapPrm"], 16) == 0
    assert status["Seccomp"] == "2", "a filter"
    devices = {path.name for path in (process / "root" / "dev").iterdir()}
    assert not devices & {"vda", "sda", "mem", "net"} and "urandom" in devices
    groups = (process / "cgroup").read_text()
    found = re.findall(r":([a-z]*):(/pileus-[0-9a-f]{8}.partition/qemu-.*)", groups)
    mounted = {name: Path(f"/sys/fs/cgroup/{name or 'unified'}{group}") for name, group in found}
    assert int((mounted["memory"] / "memory.limit_in_bytes").read_text()) == (128 + 16 + 512 + 1024) << 20
    # What is in the guest's group may open no device but those that a guest needs: version 1 lists them, BPF does not.
    entered = mounted.get("devices", mounted.get(""))
    assert entered is not None
    enter = f"echo $$ > {entered}/cgroup.procs && head -c 1 /dev/urandom > /dev/null && : < /dev/net/tun"
    refused = subprocess.run(["sh", "-c", enter], capture_output=True, text=True)
    assert "/dev/net/tun: Operation not permitted" in refused.stderr, refused
    for path in (state / "instances" / server_id).iterdir():
        found = path.stat()
        assert found.st_uid in {0, *uids} and found.st_mode & 0o007 == 0, path
    (base,) = (state / "images").iterdir()
    assert (base.stat().st_uid, base.stat().st_mode & 0o777) == (0, 0o440), "no guest's, so that none changes it"


def test_agent_restart_finds_the_guest(cloud: Cloud, guest: GuestSpec, state: Path) -> None:
    """Another agent over the same state, as after kill -9, finds libvirtd and the guest."""
    before = cloud.hypervisor._daemon.pid
    restarted = Cloud(state)
    assert restarted.hypervisor._daemon.pid == before
    assert restarted.power(guest.server_id) == PowerState.RUNNING
    until(lambda: (HOST, guest.server_id, PowerState.RUNNING) in restarted.told)
    restarted.hypervisor.stop(keep_guests=True)
    assert cloud.power(guest.server_id) == PowerState.RUNNING


def test_libvirtd_killed_and_guest_killed(cloud: Cloud, guest: GuestSpec, state: Path) -> None:
    """libvirtd is started again and finds the guest; a QEMU that dies is told as news."""
    before = cloud.hypervisor._daemon.pid
    assert before is not None
    os.kill(before, signal.SIGKILL)
    until(lambda: cloud.hypervisor._daemon.pid not in (None, before))
    until(lambda: cloud.power(guest.server_id) == PowerState.RUNNING)
    cloud.hypervisor._find(guest.server_id).memoryStats()  # waits until libvirtd has found its way back to QEMU
    pidfile = state / "libvirt" / "run" / "qemu" / f"{guest.instance_name}.pid"
    os.kill(int(pidfile.read_text()), signal.SIGKILL)
    until(lambda: bool(cloud.told))
    assert cloud.told[-1][:2] == (HOST, guest.server_id)
    assert cloud.told[-1][2] in (PowerState.SHUTDOWN, PowerState.CRASHED)
    assert cloud.do(RebootGuest(guest=guest, hard=True)) == RUNNING


def test_power_off_in_firmware_is_bounded(cloud: Cloud, guest: GuestSpec) -> None:
    """Right after a reset nobody listens to the power button."""
    started = time.monotonic()
    assert cloud.do(StopGuest(server_id=guest.server_id, timeout_s=1)) == SHUTDOWN
    assert time.monotonic() - started < 30


def test_discard_leaves_nothing(cloud: Cloud, guest: GuestSpec, state: Path) -> None:
    for _ in range(2):
        timeline = Timeline()
        cloud.do(DiscardGuest(server_id=guest.server_id), timeline)
        assert [event.name for event in timeline.events()] == ["destroy guest", "unplug port"]
    with pytest.raises(CommandFailed, match="nothing is known"):
        cloud.hypervisor.remembered(HOST, guest.server_id)
    assert cloud.guests() == {}
    assert list((state / "instances").iterdir()) == []
    assert list((state / "libvirt" / "log" / "qemu").iterdir()) == []
    assert cloud.hypervisor._connection.get().listAllDomains() == []
    assert list((state / "metadata").iterdir()) == []


def test_build_goes_on_after_a_port_that_does_not_come_up(cloud: Cloud, guest: GuestSpec) -> None:
    """The guest never runs before its ports are up; a second build takes over what the first left."""
    subnet = SubnetSpec(id="s", cidr="10.0.2.0/24", ip_version=4)
    network = NetworkSpec(id="n1", name="n", project_id="p", mtu=1500, revision=1, subnets=(subnet,))
    port = PortSpec(id="p1", network_id="n1", project_id="p", mac_address="52:54:00:00:00:01", revision=1)
    wired = msgspec.structs.replace(guest, ports=(GuestPort(port=port, network=network),))
    cloud.network.asked.clear()
    cloud.network.broken = True
    with pytest.raises(CommandFailed, match="port p1 did not come up"):
        cloud.do(BuildGuest(guest=wired))
    assert cloud.power(guest.server_id) == PowerState.PAUSED
    assert cloud.network.asked == [("prepare", "p1"), ("unplug", ("p1",)), ("plug", "p1"), ("await", ("p1",))]
    assert cloud.console(guest.server_id) == "", "it has not run"
    cloud.network.broken = False
    assert cloud.do(BuildGuest(guest=wired)) == RUNNING
    until(lambda: "login:" in cloud.console(guest.server_id))
    cloud.do(DiscardGuest(server_id=guest.server_id))
    assert cloud.network.asked[-2:] == [("unplug", ("p1",)), ("release", ("n1",))]


def test_remains_of_guests_are_reported(cloud: Cloud, guest: GuestSpec, state: Path) -> None:
    """What has no domain any more: a directory alone, instance data alone."""
    other = msgspec.structs.replace(guest, server_id=str(uuid.uuid4()))
    (state / "instances" / guest.server_id).mkdir(parents=True)
    cloud.do(UpdateInstanceData(guest=other))
    assert cloud.guests() == {guest.server_id: None, other.server_id: None}
    for server_id in (guest.server_id, other.server_id):
        cloud.do(DiscardGuest(server_id=server_id))
    assert cloud.guests() == {}


def test_housekeeping_trims_the_console(cloud: Cloud, guest: GuestSpec, state: Path) -> None:
    log = state / "instances" / guest.server_id / "console.log"
    log.parent.mkdir(parents=True)
    log.write_bytes(b"x" * (2 << 20))
    cloud.hypervisor.reports()
    assert log.stat().st_size == 2 << 20
    cloud.hypervisor.housekeep()
    assert log.stat().st_size == 100 * 1024
    cloud.do(DiscardGuest(server_id=guest.server_id))


def test_cached_build_and_stop(cloud: Cloud, guest: GuestSpec, state: Path) -> None:
    """A second guest of the image is quick; an orderly stop ends it and libvirtd."""
    timeline, started = Timeline(), time.monotonic()
    assert cloud.do(BuildGuest(guest=guest), timeline) == RUNNING
    print(f"cached build to running: {time.monotonic() - started:.3f} s")
    assert timeline.events()[0].detail["cached"] is True
    report = cloud.hypervisor.reports()[0]
    assert report.hypervisor_type == "QEMU"
    assert {"VCPU", "MEMORY_MB", "DISK_GB"} <= report.inventories.keys()
    assert report.hardware.cells and len(msgspec.json.encode(report.hardware)) < 1 << 20
    until(lambda: "login:" in cloud.console(guest.server_id))
    started = time.monotonic()
    cloud.hypervisor.stop(keep_guests=False)
    print(f"stop with a guest: {time.monotonic() - started:.2f} s")
    assert cloud.hypervisor._daemon.pid is None
    assert "tiny: power button" in cloud.console(guest.server_id)
    again = Cloud(state)
    assert again.power(guest.server_id) == PowerState.SHUTDOWN
    again.do(DiscardGuest(server_id=guest.server_id))
    again.hypervisor.stop(keep_guests=False)


_DOOMED_AGENT = """
import sys, threading
from pathlib import Path
import msgspec
from pileus.agent.commands import BuildGuest, GuestSpec
from tests.real.libvirt_world import HOST, Cloud
cloud = Cloud(Path(sys.argv[1]))
cloud.do(BuildGuest(guest=msgspec.json.decode(sys.argv[2], type=GuestSpec)))
print("built", flush=True)
threading.Event().wait()
"""


def test_guests_survive_an_agent_that_is_killed(cloud: Cloud, guest: GuestSpec, state: Path) -> None:
    """SIGKILL to the agent's whole process group, just after it started libvirtd and a guest."""
    with subprocess.Popen(
        [sys.executable, "-c", _DOOMED_AGENT, str(state), msgspec.json.encode(guest).decode()],
        stdout=subprocess.PIPE,
        start_new_session=True,
        cwd=REPOSITORY,
        env=os.environ | {"PYTHONPATH": f"{REPOSITORY / 'src'}{os.pathsep}{REPOSITORY}"},
    ) as agent:
        assert agent.stdout is not None
        assert any(line.startswith(b"built") for line in agent.stdout)
        os.killpg(agent.pid, signal.SIGKILL)
    before = cloud.hypervisor._daemon.pid
    assert before is not None
    again = Cloud(state)
    assert again.hypervisor._daemon.pid == before
    until(lambda: "login:" in again.console(guest.server_id))
    assert again.power(guest.server_id) == PowerState.RUNNING
    again.do(DiscardGuest(server_id=guest.server_id))
    again.hypervisor.stop(keep_guests=False)
