"""The domain of a guest."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from pileus.agent.account import Account
from pileus.agent.errors import CommandFailed
from pileus.agent.hypervisor import domain, topology
from pileus.agent.hypervisor.confinement import Confinement
from pileus.agent.hypervisor.topology import Topology
from tests.unit.agent.specs import PORT, SERVER, guest, image_of, wiring

CONSOLE = Path("/state/a & b/console.log")
DISKS = (
    domain.Disk(Path("/state/<disk>"), "qcow2", "vda", serial="root"),
    domain.Disk(Path("/state/disk.config"), "raw", "hdd", "ide", cdrom=True),
)
INTERFACE = '<interface type="bridge"><mac address="fa:16:3e:00:00:01"/></interface>'


def parsed(virt_type: str = "qemu", **changes: object) -> ET.Element:
    return ET.fromstring(domain.xml(guest(**changes), virt_type, DISKS, [INTERFACE], CONSOLE, Confinement()))


def test_identity_and_size() -> None:
    tree = parsed()
    assert tree.get("type") == "qemu"
    assert (tree.findtext("name"), tree.findtext("uuid")) == ("instance-00000001", SERVER)
    memory = tree.find("memory")
    assert memory is not None
    assert (memory.text, memory.get("unit"), tree.findtext("vcpu")) == ("512", "MiB", "2")
    assert [tree.findtext(f"on_{event}") for event in ("poweroff", "reboot", "crash")] == [
        "destroy",
        "restart",
        "destroy",
    ]


def test_smbios_names_the_server() -> None:
    tree = parsed()
    entries = {entry.get("name"): entry.text for entry in tree.findall("sysinfo/system/entry")}
    assert (entries["product"], entries["serial"], entries["uuid"]) == ("Pileus", SERVER, SERVER)
    assert tree.findtext("sysinfo/chassis/entry[@name='asset']") == "OpenStack Nova"
    assert tree.find("os/smbios[@mode='sysinfo']") is not None


def test_cpu_by_accelerator() -> None:
    assert parsed("qemu").findtext("cpu/model") == "qemu64"
    assert parsed("kvm").find("cpu[@mode='host-model']") is not None


def test_disks_are_escaped_and_ordered() -> None:
    root, config = parsed().findall("devices/disk")
    assert root.find("source[@file='/state/<disk>']") is not None
    assert root.find("target[@dev='vda'][@bus='virtio']") is not None
    assert (root.findtext("serial"), root.find("boot[@order='1']") is not None) == ("root", True)
    assert (config.get("device"), config.find("boot")) == ("cdrom", None)
    assert config.find("target[@dev='hdd'][@bus='ide']") is not None
    assert config.find("readonly") is not None


def test_devices() -> None:
    devices = parsed().find("devices")
    assert devices is not None
    log = devices.find("serial/log")
    assert log is not None
    assert log.attrib == {"file": str(CONSOLE), "append": "on"}
    graphics = devices.find("graphics")
    assert graphics is not None
    assert graphics.get("listen") == "127.0.0.1"
    assert (graphics.get("autoport"), graphics.get("websocket")) == ("yes", "-1")
    assert devices.find("interface/mac[@address='fa:16:3e:00:00:01']") is not None
    assert devices.find("memballoon[@model='virtio']") is not None
    assert devices.find("rng[@model='virtio']") is not None


def test_password_and_names_of_people_stay_out() -> None:
    text = domain.xml(guest(), "qemu", DISKS, [], CONSOLE, Confinement())
    assert "hunter2" not in text
    assert "Web" not in text


@pytest.mark.parametrize(
    ("vcpus", "flavor", "image", "chosen"),
    [
        (4, {}, {}, Topology(4, 1, 1)),
        (4, {"hw:cpu_sockets": "2"}, {}, Topology(2, 2, 1)),
        (4, {"hw:cpu_threads": "2"}, {}, Topology(2, 1, 2)),
        (4, {"hw:cpu_cores": "4"}, {}, Topology(1, 4, 1)),
        (4, {"hw:cpu_max_sockets": "1"}, {}, Topology(1, 4, 1)),
        (8, {"hw:cpu_max_sockets": "2", "hw:cpu_max_cores": "2"}, {}, Topology(2, 2, 2)),
        (4, {"hw:cpu_max_sockets": "2"}, {"hw_cpu_max_sockets": "4"}, Topology(2, 2, 1)),
        (4, {"hw:cpu_sockets": "4"}, {"hw_cpu_sockets": "1"}, Topology(1, 4, 1)),
        (6, {"hw:cpu_sockets": "4"}, {}, Topology(6, 1, 1)),
    ],
)
def test_topology(vcpus: int, flavor: dict[str, str], image: dict[str, str], chosen: Topology) -> None:
    assert topology.choose(vcpus, flavor, image) == chosen


@pytest.mark.parametrize(
    "flavor",
    [
        {"hw:cpu_max_sockets": "1", "hw:cpu_max_cores": "1", "hw:cpu_max_threads": "2"},
        {"hw:cpu_cores": "-1"},
        {"hw:cpu_cores": "9" * 5000},
    ],
)
def test_impossible_topology(flavor: dict[str, str]) -> None:
    with pytest.raises(CommandFailed) as failure:
        topology.choose(4, flavor, {})
    assert failure.value.code == "cpu-topology"


# --- what runs ----------------------------------------------------------------------------------------------------


def test_the_agent_in_a_guest_has_a_channel_if_its_image_says_so(tmp_path: Path) -> None:
    (tmp_path / "image").touch()
    for value, count in (("yes", 1), ("True", 1), ("no", 0), ("", 0)):
        image = image_of(tmp_path / "image", "raw", properties={"hw_qemu_guest_agent": value})
        channels = parsed(image=image).findall("devices/channel")
        assert len(channels) == count
        for channel in channels:
            assert channel.find("target[@type='virtio'][@name='org.qemu.guest_agent.0']") is not None
    assert parsed().findall("devices/channel") == []


def plugged(mac: str, port_id: str | None = None) -> str:
    named = f"<virtualport><parameters interfaceid='{port_id}'/></virtualport>" if port_id else ""
    return f"<interface type='bridge'><mac address='{mac}'/>{named}</interface>"


def test_the_interface_of_a_port_is_found() -> None:
    port = wiring()
    mac = port.port.mac_address
    for interfaces, found in (
        ([plugged(mac.upper())], 0),
        ([plugged("fa:16:3e:00:00:02"), plugged(mac)], 1),
        ([plugged(mac, "of another network"), plugged(mac, PORT)], 1),
        ([plugged(mac, "of another network")], None),
        ([], None),
        (["<interface type='hostdev'/>"], None),
    ):
        text = f"<domain><devices>{''.join(interfaces)}</devices></domain>"
        element = domain.interface(text, port)
        assert element == (None if found is None else canonical(interfaces[found]))


def canonical(text: str) -> str:
    return ET.tostring(ET.fromstring(text), encoding="unicode")


def test_the_disk_of_a_file_is_found_unless_it_is_read_only() -> None:
    text = domain.xml(guest(), "qemu", DISKS, [], CONSOLE, Confinement())
    assert domain.disk_of(text, DISKS[0].path) == "vda"
    assert domain.disk_of(text, DISKS[1].path) is None
    assert domain.disk_of(text, Path("/state/other")) is None


def test_a_backup_names_one_disk_and_a_new_file() -> None:
    tree = ET.fromstring(domain.backup("vda", Path("/state/<copy>")))
    assert (tree.tag, tree.get("mode")) == ("domainbackup", "push")
    (disk,) = tree.findall("disks/disk")
    assert (disk.get("name"), disk.get("type")) == ("vda", "file")
    assert disk.find("target[@file='/state/<copy>']") is not None
    assert disk.find("driver[@type='qcow2']") is not None


def test_what_keeps_a_guest_in() -> None:
    account = Account("guests", 990, 108)
    kept = Confinement(account=account, controllers=("devices", "memory"), partition="/pileus-1")
    tree = ET.fromstring(domain.xml(guest(), "kvm", DISKS, [], CONSOLE, kept, account.guest(1879048200)))
    assert tree.findtext("resource/partition") == "/pileus-1"
    assert tree.findtext("seclabel[@model='dac'][@relabel='no']/label") == "+1879048200:+108"
    assert [kept.memory_mib(512, virt_type) for virt_type in ("kvm", "qemu")] == [512 + 64 + 512, 512 + 64 + 1536]
    assert Confinement().memory_mib(512, "kvm") is None
