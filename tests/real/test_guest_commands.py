"""What is done to a guest between its boot and its end: held, saved, copied, replugged, given a password.

One guest of libvirt and QEMU goes through all of it, in the order of the tests; needs what libvirt_world.py says.
"""

from __future__ import annotations

import base64
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from pileus.agent.commands import (
    AttachPort,
    BuildGuest,
    DetachPort,
    DiscardGuest,
    GuestPort,
    NetworkSpec,
    PauseGuest,
    PortSpec,
    PowerState,
    RebootGuest,
    ResumeGuest,
    StartGuest,
    StopGuest,
    SubnetSpec,
    SuspendGuest,
    UnpauseGuest,
)
from pileus.agent.errors import CommandFailed
from pileus.agent.timeline import Timeline
from tests.real.guest_world import Subject, refused, specification
from tests.real.libvirt_world import HOST, PAUSED, RUNNING, SHUTDOWN, Cloud, pytestmark, state_folder, until

__all__ = ["pytestmark"]

SUBNET = SubnetSpec(id="s", cidr="10.0.2.0/24", ip_version=4)
PORT = GuestPort(
    port=PortSpec(id="p1", network_id="n1", project_id="p", mac_address="52:54:00:00:00:01", revision=1),
    network=NetworkSpec(id="n1", name="n", project_id="p", mtu=1500, revision=1, subnets=(SUBNET,)),
)


@pytest.fixture(scope="module")
def state() -> Iterator[Path]:
    with state_folder() as folder:
        yield folder


@pytest.fixture(scope="module")
def cloud(state: Path) -> Iterator[Cloud]:
    cloud = Cloud(state)
    yield cloud
    cloud.hypervisor.stop(keep_guests=False)


@pytest.fixture(scope="module")
def subject(cloud: Cloud) -> Subject:
    subject = Subject(cloud)
    assert cloud.do(BuildGuest(guest=subject.guest)) == RUNNING
    return subject


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
