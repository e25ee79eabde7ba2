"""A guest of libvirt on OVN: what the control plane records and a host plugs meet in `await_up`."""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from pileus.agent.commands import (
    BuildGuest,
    DiscardGuest,
    GuestSpec,
    InstanceData,
    RebootGuest,
    StartGuest,
    StopGuest,
)
from pileus.agent.errors import CommandFailed
from pileus.agent.timeline import Timeline
from tests.real.ovn_world import HOST, Host, World, guest_port, inside, namespace, network
from tests.real.test_libvirt import IMAGE, RUNNING
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


def test_a_guest_is_plugged_each_time_anew(host: Host) -> None:
    from pileus.agent.hypervisor.libvirt import LibvirtHypervisor

    hypervisor = LibvirtHypervisor(host.state, host.driver, HOST, virt_type="qemu")
    hypervisor.start(lambda *news: None)
    wiring = World().wiring(10)
    server_id, tap = str(uuid.uuid4()), host.driver.tap_name(wiring.port.id)
    guest = GuestSpec(
        server_id=server_id,
        instance_name="instance-00000001",
        vcpus=1,
        memory_mib=128,
        root_gib=1,
        image=image_of(IMAGE.resolve(), "qcow2"),
        data=InstanceData(hostname="h", name="n", project_id="p"),
        ports=(guest_port(wiring),),
    )

    def row() -> str:
        return host.switch("get", "Interface", tap, "_uuid").strip()

    try:
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
    finally:
        hypervisor.stop(keep_guests=False)
