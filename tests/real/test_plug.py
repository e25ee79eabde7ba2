"""A guest of libvirt on OVN: what the control plane records and a host plugs meet in `await_up`."""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from pileus.agent.commands import (
    AttachPort,
    BuildGuest,
    Command,
    DetachPort,
    DiscardGuest,
    GuestPort,
    GuestSpec,
    InstanceData,
    RebootGuest,
    ResumeGuest,
    StartGuest,
    StopGuest,
    SuspendGuest,
)
from pileus.agent.errors import CommandFailed
from pileus.agent.timeline import Timeline
from tests.real.libvirt_world import IMAGE, RUNNING
from tests.real.ovn_world import HOST, Host, World, guest_port, inside, namespace, network, sh
from tests.support import eventually
from tests.unit.agent.specs import image_of

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not IMAGE.exists() or not shutil.which("libvirtd") or not shutil.which("ovn-northd"),
    reason="needs root, libvirtd, OVN's packages and the test image",
)


@pytest.fixture
def host() -> Iterator[Host]:
    state = Path(tempfile.mkdtemp(prefix="pileus-plug-"))
    with namespace() as name, inside(name):
        host = Host(state, network(state))
        try:
            host.start()
            yield host
        finally:
            host.northbound.close()
            host.driver.stop(keep_guests=False)
    shutil.rmtree(state)


@pytest.fixture
def hypervisor(host: Host) -> Iterator[Any]:
    from pileus.agent.hypervisor.libvirt import LibvirtHypervisor

    hypervisor = LibvirtHypervisor(host.state, host.driver, HOST, virt_type="qemu")
    hypervisor.start(lambda *news: None)
    try:
        yield hypervisor
    finally:
        hypervisor.stop(keep_guests=False)


def guest_on(*ports: GuestPort) -> GuestSpec:
    return GuestSpec(
        server_id=str(uuid.uuid4()),
        instance_name="instance-00000001",
        vcpus=1,
        memory_mib=128,
        root_gib=1,
        image=image_of(IMAGE.resolve(), "qcow2"),
        data=InstanceData(hostname="h", name="n", project_id="p"),
        ports=ports,
    )


def test_a_guest_is_plugged_each_time_anew(host: Host, hypervisor: Any) -> None:
    wiring = World().wiring(10)
    guest = guest_on(guest_port(wiring))
    server_id, tap = guest.server_id, host.driver.tap_name(wiring.port.id)

    def row() -> str:
        return host.switch("get", "Interface", tap, "_uuid").strip()

    with pytest.raises(CommandFailed, match="did not come up") as failed:
        hypervisor.build(HOST, BuildGuest(guest=guest, plug_timeout_s=1), Timeline())
    assert failed.value.code == "plug-timeout"
    first = row()

    host.northbound.sync_port(wiring)
    timeline = Timeline()
    assert hypervisor.build(HOST, BuildGuest(guest=guest), timeline) == RUNNING
    events = {event.name: event for event in timeline.events()}
    assert events["plug port"].detail == {"port": wiring.port.id, "tap": tap}
    print(f"plug port: {(events['plug port'].finished - events['plug port'].started) * 1000:.1f} ms")
    second = row()

    timeline = Timeline()
    assert hypervisor.reboot(HOST, RebootGuest(guest=guest, hard=True), timeline) == RUNNING
    assert "prepare network" in [event.name for event in timeline.events()]
    assert len({first, second, row()}) == 3, "libvirt takes over no interface of an earlier start"

    hypervisor.power_off(HOST, StopGuest(server_id=server_id, timeout_s=0), Timeline())
    host.northbound.drop_port(wiring.port.id)
    host.switch("add-port", "br-int", tap, "--", "set", "Interface", tap, "external_ids:ovn-installed=true")
    with pytest.raises(CommandFailed, match="did not come up"):
        hypervisor.power_on(HOST, StartGuest(guest=guest, plug_timeout_s=1), Timeline())
    hypervisor.discard(HOST, DiscardGuest(server_id=server_id), Timeline())
    assert tap not in host.switch("list-ports", "br-int")


def test_a_port_is_plugged_into_a_guest_that_runs_and_taken_out(host: Host, hypervisor: Any) -> None:
    first, second = World().wiring(10), World().wiring(11)
    guest = guest_on(guest_port(first))
    wired = replace(guest, ports=(guest_port(first), guest_port(second)))
    taps = [host.driver.tap_name(wiring.port.id) for wiring in (first, second)]
    metadata = [f"ovnmeta-{wiring.network.id}" for wiring in (first, second)]
    host.northbound.sync_port(first)

    def do(command: Command) -> list[str]:
        """Carry a command out; the ports that came up."""
        timeline = Timeline()
        getattr(hypervisor, command.method)(HOST, command, timeline)
        return [event.detail["port"] for event in timeline.events() if event.name == "plug port"]

    def plugged() -> list[str]:
        return [tap for tap in taps if tap in host.switch("list-ports", "br-int").split()]

    def served() -> list[str]:
        return [name for name in metadata if any(line.startswith(name) for line in sh("ip", "netns").splitlines())]

    do(BuildGuest(guest=guest))
    eventually(lambda: "login:" in hypervisor.console(HOST, guest.server_id, None), 90, "the guest's boot")
    attach = AttachPort(guest=wired, port_id=second.port.id)
    with pytest.raises(CommandFailed, match="did not come up") as failed:
        do(replace(attach, plug_timeout_s=1))
    assert failed.value.code == "plug-timeout"
    host.northbound.sync_port(second)
    assert do(attach) == [second.port.id]
    assert plugged() == taps and served() == metadata

    assert do(SuspendGuest(server_id=guest.server_id)) == [] and plugged() == []
    assert do(ResumeGuest(guest=wired)) == [first.port.id, second.port.id] and plugged() == taps

    assert do(DetachPort(guest=guest, port=guest_port(second))) == []
    assert plugged() == taps[:1] and served() == metadata[:1]
    do(DiscardGuest(server_id=guest.server_id))
    assert plugged() == served() == []
