"""What is done to a guest between its boot and its end: held, saved, copied, replugged, given a password.

One guest of libvirt and QEMU goes through all of it, in the order of the tests; needs what test_libvirt.py needs.
"""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import os
import re
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from pileus.agent.commands import (
    AttachPort,
    BuildGuest,
    DetachPort,
    DiscardGuest,
    GuestPort,
    GuestSpec,
    InstanceData,
    NetworkSpec,
    PauseGuest,
    PortSpec,
    PowerState,
    RebootGuest,
    ResumeGuest,
    SnapshotGuest,
    StartGuest,
    StopGuest,
    SubnetSpec,
    SuspendGuest,
    UnpauseGuest,
)
from pileus.agent.errors import CommandFailed
from pileus.agent.timeline import Timeline
from tests.real.test_libvirt import HOST, IMAGE, PAUSED, RUNNING, SHUTDOWN, Cloud, pytestmark, until
from tests.unit.agent.specs import image_of

__all__ = ["pytestmark"]

NOBODY = 65534
TICKING = b"""#!/bin/sh
echo kept > /root/kept
sync
(n=0; while sleep 0.5; do n=$((n + 1)); echo "tick $n" > /dev/console; done) &
"""
AGENT = b"""
for port in /sys/class/virtio-ports/*; do
  [ "$(cat $port/name)" = org.qemu.guest_agent.0 ] && device=/dev/${port##*/}
done
agent() {
  exec 3<> $device
  echo "agent: listens" > /dev/console
  while read -r line <&3; do
    case $line in
      *guest-sync*) echo "{\\"return\\": $(echo "$line" | sed 's/.*"id": *\\([0-9]*\\).*/\\1/')}" >&3;;
      *guest-set-user-password*) echo "agent: $line" > /dev/console; echo '{"return": {}}' >&3;;
    esac
  done
}
agent &
"""
SUBNET = SubnetSpec(id="s", cidr="10.0.2.0/24", ip_version=4)
PORT = GuestPort(
    port=PortSpec(id="p1", network_id="n1", project_id="p", mac_address="52:54:00:00:00:01", revision=1),
    network=NetworkSpec(id="n1", name="n", project_id="p", mtu=1500, revision=1, subnets=(SUBNET,)),
)


def specification(image: Path, disk_format: str, user_data: bytes, **changes: Any) -> GuestSpec:
    data = InstanceData(hostname="h", name="n", project_id="p", user_data=base64.b64encode(user_data).decode())
    fields: dict[str, Any] = {
        "server_id": str(uuid.uuid4()),
        "instance_name": f"instance-{uuid.uuid4().hex[:8]}",
        "vcpus": 1,
        "memory_mib": 128,
        "root_gib": 1,
        "image": image_of(image, disk_format, properties={"hw_qemu_guest_agent": "yes"}),
        "config_drive": True,
        "data": data,
    }
    return GuestSpec(**fields | changes)


class Subject:
    """The guest that all is done to."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.guest = specification(IMAGE.resolve(), "qcow2", TICKING + AGENT)
        self.id = self.guest.server_id

    @property
    def domain(self) -> Any:
        return self.cloud.hypervisor._find(self.id)

    def ticks(self) -> list[int]:
        """What the guest counts, once a boot of a new disk, for as long as its memory lives."""
        return [int(number) for number in re.findall(r"tick (\d+)\r?\n", self.cloud.console(self.id))]

    def goes_on(self) -> None:
        """Wait until the guest has counted on."""
        before = len(self.ticks())
        until(lambda: len(self.ticks()) > before + 1)

    def logins(self) -> int:
        return self.cloud.console(self.id).count("login:")

    def interfaces(self) -> tuple[int, int]:
        """How many it has as it runs, and as it is defined."""
        return self.domain.XMLDesc(0).count("<interface"), self.domain.XMLDesc(2).count("<interface")


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("state")


@pytest.fixture(scope="module")
def cloud(state: Path) -> Iterator[Cloud]:
    cloud = Cloud(state)
    os.chown(cloud.uploads, NOBODY, NOBODY)
    yield cloud
    cloud.hypervisor.stop(keep_guests=False)


@pytest.fixture(scope="module")
def subject(cloud: Cloud) -> Subject:
    subject = Subject(cloud)
    assert cloud.do(BuildGuest(guest=subject.guest)) == RUNNING
    return subject


def refused(cloud: Cloud, command: Any) -> str:
    """The code with which a command fails."""
    with pytest.raises(CommandFailed) as failed:
        cloud.do(command)
    return failed.value.code


# --- passwords ----------------------------------------------------------------------------------------------------


def test_a_password_is_given_to_the_agent_in_the_guest_and_to_nobody_else(
    cloud: Cloud, subject: Subject, state: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    secret = "Tr0ub4dor&3"
    with pytest.raises(CommandFailed) as failed:  # the guest is in its firmware still
        cloud.hypervisor.set_password(HOST, subject.id, "root", secret)
    assert failed.value.code == "no-guest-agent"
    until(lambda: "agent: listens" in cloud.console(subject.id))
    cloud.hypervisor.set_password(HOST, subject.id, "tiny", secret)
    asked = re.search(r"agent: (\{.*\})\r?\n", cloud.console(subject.id))
    assert asked is not None
    arguments = json.loads(asked[1])["arguments"]
    assert arguments["username"] == "tiny" and base64.b64decode(arguments["password"]).decode() == secret
    encoded = base64.b64encode(secret.encode()).decode()
    told = caplog.text + (state / "libvirt" / "log" / "libvirtd.log").read_text()
    assert "no password was set" in told, "what is logged is looked at"
    assert secret not in told and encoded not in told


# --- held and saved -----------------------------------------------------------------------------------------------


def test_a_paused_guest_goes_on_where_it_was(cloud: Cloud, subject: Subject) -> None:
    subject.goes_on()
    assert [cloud.do(PauseGuest(server_id=subject.id)) for _ in range(2)] == [PAUSED, PAUSED]
    assert cloud.power(subject.id) == PowerState.PAUSED
    assert [cloud.do(UnpauseGuest(server_id=subject.id)) for _ in range(2)] == [RUNNING, RUNNING]
    subject.goes_on()
    assert cloud.power(subject.id) == PowerState.RUNNING
    assert cloud.told == [], "what commands do is no news"


def test_a_suspended_guest_goes_on_where_it_was(cloud: Cloud, subject: Subject) -> None:
    subject.goes_on()
    assert [cloud.do(SuspendGuest(server_id=subject.id)) for _ in range(2)] == [SHUTDOWN, SHUTDOWN]
    assert cloud.power(subject.id) == PowerState.SHUTDOWN and subject.domain.hasManagedSaveImage()
    for command in (PauseGuest, UnpauseGuest):
        assert refused(cloud, command(server_id=subject.id)) == "not-running"
    timeline = Timeline()
    assert cloud.do(ResumeGuest(guest=subject.guest), timeline) == RUNNING
    assert [event.name for event in timeline.events()] == ["restore memory", "running"]
    assert cloud.do(ResumeGuest(guest=subject.guest)) == RUNNING
    subject.goes_on()
    assert subject.ticks() == list(range(1, len(subject.ticks()) + 1)), "it lost no tick and began none anew"
    assert subject.logins() == 1
    assert cloud.told == [], "what commands do is no news"


def test_a_suspended_guest_that_is_powered_on_starts_afresh(cloud: Cloud, subject: Subject) -> None:
    cloud.do(SuspendGuest(server_id=subject.id))
    assert cloud.do(RebootGuest(guest=subject.guest, hard=True)) == RUNNING
    assert not subject.domain.hasManagedSaveImage()
    cloud.do(SuspendGuest(server_id=subject.id))
    assert cloud.do(StartGuest(guest=subject.guest)) == RUNNING
    assert not subject.domain.hasManagedSaveImage()
    until(lambda: subject.logins() == 2)


def test_resuming_without_saved_memory_is_powering_on(cloud: Cloud, subject: Subject) -> None:
    assert cloud.do(StopGuest(server_id=subject.id)) == SHUTDOWN
    assert refused(cloud, SuspendGuest(server_id=subject.id)) == "not-running"
    timeline = Timeline()
    assert cloud.do(ResumeGuest(guest=subject.guest), timeline) == RUNNING
    assert [event.name for event in timeline.events()] == ["define guest", "running"]
    until(lambda: subject.logins() == 3)


# --- ports --------------------------------------------------------------------------------------------------------


def test_a_port_is_plugged_into_a_guest_that_runs_and_taken_out(cloud: Cloud, subject: Subject) -> None:
    wired = replace(subject.guest, ports=(PORT,))
    attach, detach = AttachPort(guest=wired, port_id="p1"), DetachPort(guest=subject.guest, port=PORT)
    cloud.network.asked.clear()
    cloud.network.broken = True
    assert refused(cloud, attach) == "plug-timeout"
    cloud.network.broken = False
    asked = [("prepare", "p1"), ("unplug", ("p1",)), ("plug", "p1"), ("plug", "p1"), ("await", ("p1",))]
    assert cloud.network.asked == asked
    assert cloud.do(attach) is None
    assert cloud.network.asked == [*asked, ("prepare", "p1"), ("await", ("p1",))], "it was plugged before"
    assert subject.interfaces() == (1, 1)
    assert cloud.hypervisor.remembered(HOST, subject.id).ports == (PORT,)
    until(lambda: "tiny: eth0 10.0.2.15" in cloud.console(subject.id))

    cloud.do(PauseGuest(server_id=subject.id))
    assert refused(cloud, detach) == "guest-paused"
    cloud.do(UnpauseGuest(server_id=subject.id))
    for _ in range(2):
        timeline = Timeline()
        assert cloud.do(detach, timeline) is None
        assert [event.name for event in timeline.events()] == ["detach port", "unplug port"]
        assert subject.interfaces() == (0, 0)
        assert cloud.network.asked[-2:] == [("unplug", ("p1",)), ("release", ("n1",))]
        assert cloud.hypervisor.remembered(HOST, subject.id).ports == ()


def test_a_guest_that_is_off_has_the_port_when_it_starts(cloud: Cloud, subject: Subject) -> None:
    wired = replace(subject.guest, ports=(PORT,))
    attach, detach = AttachPort(guest=wired, port_id="p1"), DetachPort(guest=subject.guest, port=PORT)
    cloud.do(SuspendGuest(server_id=subject.id))
    assert {refused(cloud, command) for command in (attach, detach)} == {"guest-suspended"}
    assert cloud.hypervisor.remembered(HOST, subject.id).ports == ()
    cloud.do(ResumeGuest(guest=subject.guest))
    cloud.do(StopGuest(server_id=subject.id, timeout_s=0))
    for command, count in ((attach, 1), (detach, 0), (attach, 1)):
        cloud.network.asked.clear()
        assert cloud.do(command) is None
        assert subject.interfaces() == (count, count)
        assert "await" not in [word for word, _ in cloud.network.asked], "nothing is plugged now"
    assert cloud.do(StartGuest(guest=wired)) == RUNNING
    assert subject.interfaces() == (1, 1)
    assert cloud.do(DiscardGuest(server_id=subject.id)) is None


def test_a_guest_that_does_not_let_go_of_its_port_keeps_it(cloud: Cloud, tmp_path: Path) -> None:
    empty = tmp_path / "empty.raw"
    empty.write_bytes(bytes(1 << 20))
    guest = specification(empty, "raw", b"", ports=(PORT,))
    cloud.do(BuildGuest(guest=guest))  # its firmware finds nothing to boot, and answers nobody
    cloud.network.asked.clear()
    assert refused(cloud, DetachPort(guest=replace(guest, ports=()), port=PORT, timeout_s=1)) == "detach-timeout"
    assert cloud.network.asked == []
    assert cloud.hypervisor.remembered(HOST, guest.server_id).ports == (PORT,)
    domain = cloud.hypervisor._find(guest.server_id)
    assert "<interface" in domain.XMLDesc(0) and "<interface" in domain.XMLDesc(2)
    cloud.do(DiscardGuest(server_id=guest.server_id))


# --- images -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def copied(cloud: Cloud) -> Iterator[Subject]:
    """Another guest, which has written to its disk."""
    subject = Subject(cloud)
    cloud.do(BuildGuest(guest=subject.guest))
    subject.goes_on()
    yield subject
    cloud.do(DiscardGuest(server_id=subject.id))


def snapshot_of(subject: Subject, name: str) -> tuple[SnapshotGuest, Path]:
    path = subject.cloud.uploads / name
    return SnapshotGuest(server_id=subject.id, image_id=name, location=path.as_uri()), path


def check_image(subject: Subject, path: Path, result: dict[str, Any] | None) -> None:
    content = path.read_bytes()
    assert result == {
        "size": len(content),
        "virtual_size": 1 << 30,
        "checksum": hashlib.md5(content).hexdigest(),
        "sha512": hashlib.sha512(content).hexdigest(),
    }
    found = path.lstat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o7777) == (NOBODY, NOBODY, 0o640)
    subprocess.run(["qemu-img", "check", "-f", "qcow2", str(path)], check=True, capture_output=True)
    told = subprocess.run(["qemu-img", "info", "--output=json", str(path)], check=True, capture_output=True).stdout
    assert "backing-filename" not in json.loads(told) and json.loads(told)["virtual-size"] == 1 << 30
    files = subject.cloud.hypervisor._files.guest(subject.id)
    assert not files.copying.exists(), "the copy is gone"


def test_an_image_of_a_guest_that_runs_boots_with_what_it_had_written(
    cloud: Cloud, copied: Subject, tmp_path: Path
) -> None:
    command, path = snapshot_of(copied, "running")
    (tmp_path / "other").write_text("another's")
    path.symlink_to(tmp_path / "other")  # left, or laid there by whom the folder belongs to
    timeline = Timeline()
    result = cloud.do(command, timeline)
    check_image(copied, path, result)
    for event in timeline.events():
        print(f"{event.name}: {event.finished - event.started:.3f} s {event.detail}")
    assert [event.name for event in timeline.events()] == ["copy disk", "deliver image"]
    assert timeline.events()[0].detail == {"image": "running", "live": True}
    assert (tmp_path / "other").read_text() == "another's"
    check_image(copied, path, cloud.do(command))
    copied.goes_on()
    assert cloud.told == []

    other = specification(path, "qcow2", b"#!/bin/sh\necho found $(cat /root/kept) > /dev/console\n")
    cloud.do(BuildGuest(guest=other))
    until(lambda: "found kept" in cloud.console(other.server_id))
    cloud.do(DiscardGuest(server_id=other.server_id))


def test_an_image_is_made_in_every_state_and_changes_none(cloud: Cloud, copied: Subject) -> None:
    before = disk_content(snapshot_of(copied, "running")[1], "/root/kept")
    for name, change, power_state, live in (
        ("paused", PauseGuest(server_id=copied.id), PowerState.PAUSED, True),
        ("suspended", SuspendGuest(server_id=copied.id), PowerState.SHUTDOWN, False),
        ("stopped", RebootGuest(guest=copied.guest, hard=True), None, None),
        ("stopped", StopGuest(server_id=copied.id, timeout_s=0), PowerState.SHUTDOWN, False),
    ):
        cloud.do(change)
        if live is None:
            continue
        command, path = snapshot_of(copied, name)
        timeline = Timeline()
        check_image(copied, path, cloud.do(command, timeline))
        assert timeline.events()[0].detail["live"] is live
        assert cloud.power(copied.id) == power_state
        if name == "suspended":
            assert copied.domain.hasManagedSaveImage()
            cloud.do(ResumeGuest(guest=copied.guest))
            copied.goes_on()
        assert disk_content(path, "/root/kept") == before == b"kept\n"


def disk_content(image: Path, name: str) -> bytes:
    """A file of the image's second partition, read without mounting anything."""
    raw = image.with_suffix(".raw")
    subprocess.run(["qemu-img", "convert", "-O", "raw", str(image), str(raw)], check=True)
    with open(raw, "rb") as disk:
        disk.seek(446 + 16 + 8)
        first = int.from_bytes(disk.read(4), "little") * 512
    argv = ["debugfs", "-R", f"cat {name}", f"{raw}?offset={first}"]
    content = subprocess.run(argv, check=True, capture_output=True).stdout
    raw.unlink()
    return content


class Interrupted(Timeline):
    """A timeline of a command that is taken back once it tells of the progress of a stage."""

    def __init__(self, stage: str) -> None:
        super().__init__()
        self._stage = stage

    def progress(self, stage: str, done: int, total: int) -> None:
        if stage == self._stage:
            self.abandon()
        super().progress(stage, done, total)


@pytest.mark.parametrize(("stage", "on"), [("copy disk", True), ("deliver image", True), ("deliver image", False)])
def test_an_image_that_is_given_up_leaves_nothing(cloud: Cloud, copied: Subject, stage: str, on: bool) -> None:
    cloud.do(StartGuest(guest=copied.guest) if on else StopGuest(server_id=copied.id, timeout_s=0))
    command, path = snapshot_of(copied, "interrupted")
    with pytest.raises(CommandFailed) as failed:
        cloud.do(command, Interrupted(stage))
    assert failed.value.code == "abandoned"
    assert not path.exists()
    assert not cloud.hypervisor._files.guest(copied.id).copying.exists()
    if on:
        assert copied.domain.jobStats()["type"] == 0, "nothing is copied any more"
    check_image(copied, path, cloud.do(command))
    path.unlink()


def test_images_are_put_nowhere_else(cloud: Cloud, copied: Subject, tmp_path: Path) -> None:
    for location in (f"file://{tmp_path}/image", f"{cloud.uploads.as_uri()}/../image", f"{cloud.uploads.as_uri()}/.."):
        command = SnapshotGuest(server_id=copied.id, image_id="i", location=location)
        assert refused(cloud, command) == "not-allowed"
    unknown = str(uuid.uuid4())
    command = SnapshotGuest(server_id=unknown, image_id="i", location=(cloud.uploads / "i").as_uri())
    assert refused(cloud, command) == "no-such-guest"
    assert unknown not in cloud.guests()


def test_an_agent_that_starts_removes_what_one_that_died_left(cloud: Cloud, copied: Subject, state: Path) -> None:
    files = cloud.hypervisor._files.guest(copied.id)
    files.begin_copy()
    files.copy.write_bytes(b"half")
    half, whole = cloud.uploads / "half", cloud.uploads / "whole"
    half.write_bytes(b"half")
    half.chmod(0o600)
    whole.write_bytes(b"whole")
    whole.chmod(0o640)
    again = Cloud(state)
    again.hypervisor.stop(keep_guests=True)
    assert not files.copying.exists() and files.root.exists()
    assert not half.exists() and whole.exists()
