"""The libvirt domain of a guest (libvirt.org/formatdomain.html)."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pileus.agent.account import Account
from pileus.agent.commands import GuestPort, GuestSpec
from pileus.agent.hypervisor import topology
from pileus.agent.hypervisor.base import has_agent
from pileus.agent.hypervisor.confinement import Confinement
from pileus.agent.storage.file import GuestFiles

_CHASSIS_ASSET = "OpenStack Nova"
"""cloud-init recognises an OpenStack guest without a config drive by this asset tag (DataSourceOpenStack)."""


@dataclass(frozen=True)
class Disk:
    """A disk of a guest. `target` is its name in the guest, `bus` virtio or ide."""

    path: Path
    format: str
    target: str
    bus: str = "virtio"
    cdrom: bool = False
    serial: str = ""


def disks(guest: GuestSpec, files: GuestFiles) -> list[Disk]:
    """The guest's disks in the order of their letters."""
    if guest.image and guest.image.disk_format == "iso":
        disks = [Disk(files.root, "qcow2", "hda", "ide", cdrom=True)]
    else:
        disks = [Disk(files.root, "qcow2", "vda", serial="root")]
    letters = iter("bcd")
    if files.ephemeral.exists():
        disks.append(Disk(files.ephemeral, "qcow2", f"vd{next(letters)}", serial="ephemeral0"))
    if files.swap.exists():
        disks.append(Disk(files.swap, "raw", f"vd{next(letters)}", serial="swap"))
    if files.config_drive.exists():
        disks.append(Disk(files.config_drive, "raw", "hdd", "ide", cdrom=True))
    return disks


def xml(
    guest: GuestSpec,
    virt_type: str,
    disks: Sequence[Disk],
    interfaces: Sequence[str],
    console: Path,
    confinement: Confinement,
    runs_as: Account | None = None,
) -> str:
    """The domain's definition.

    Args:
        virt_type: `kvm` or `qemu`.
        disks: in boot order; the first is booted from.
        interfaces: `<interface>` elements, in the order in which the guest is to see them.
        console: file to which the guest's serial console is appended.
        runs_as: the user that the guest runs as, whose its files are already; libvirt's own choice if None.
    """
    domain = ET.Element("domain", type=virt_type)
    _text(domain, "name", guest.instance_name)
    _text(domain, "uuid", guest.server_id)
    _text(domain, "memory", str(guest.memory_mib), unit="MiB")
    _text(domain, "vcpu", str(guest.vcpus), placement="static")
    _kept_in(domain, confinement, runs_as)
    _sysinfo(domain, guest)
    system = ET.SubElement(domain, "os")
    _text(system, "type", "hvm", arch="x86_64", machine="pc")
    ET.SubElement(system, "smbios", mode="sysinfo")
    features = ET.SubElement(domain, "features")
    ET.SubElement(features, "acpi")
    ET.SubElement(features, "apic")
    _cpu(domain, guest, virt_type)
    _clock(domain, virt_type)
    for event, action in (("poweroff", "destroy"), ("reboot", "restart"), ("crash", "destroy")):
        _text(domain, f"on_{event}", action)
    devices = ET.SubElement(domain, "devices")
    for order, disk in enumerate(disks, start=1):
        _disk(devices, disk, order if order == 1 else None)
    for interface in interfaces:
        devices.append(ET.fromstring(interface))  # noqa: S314 - made by our own network driver
    _consoles(devices, console)
    _helpers(devices)
    if has_agent(guest):
        _agent(devices)
    return ET.tostring(domain, encoding="unicode")


def interface(text: str, wiring: GuestPort) -> str | None:
    """The `<interface>` element that plugs a port in a domain's definition, as libvirt must be shown it to unplug it.

    Two ports on different networks may have one MAC address: where the network's driver names the port, that decides.
    """
    for element in ET.fromstring(text).iterfind("devices/interface"):  # noqa: S314 - libvirt's own
        mac, named = element.find("mac"), element.find("virtualport/parameters")
        if mac is None or mac.get("address", "").lower() != wiring.port.mac_address.lower():
            continue
        if named is None or named.get("interfaceid", wiring.port.id) == wiring.port.id:
            return ET.tostring(element, encoding="unicode")
    return None


def disk_of(text: str, path: Path) -> str | None:
    """The target of the disk in a domain's definition that is the file `path`; None if it cannot be written to."""
    for element in ET.fromstring(text).iterfind("devices/disk"):  # noqa: S314 - libvirt's own
        source, target = element.find("source"), element.find("target")
        if source is None or target is None or source.get("file") != str(path):
            continue
        return None if element.find("readonly") is not None else target.get("dev")
    return None


def backup(target: str, copy: Path) -> str:
    """The job that copies one disk of a guest, with what stands behind it, to a new qcow2 file.

    See libvirt.org/formatbackup.html.
    """
    job = ET.Element("domainbackup", mode="push")
    disk = ET.SubElement(ET.SubElement(job, "disks"), "disk", name=target, type="file")
    ET.SubElement(disk, "target", file=str(copy))
    ET.SubElement(disk, "driver", type="qcow2")
    return ET.tostring(job, encoding="unicode")


def _text(parent: ET.Element, tag: str, text: str, **attributes: str) -> None:
    ET.SubElement(parent, tag, attributes).text = text


def _kept_in(domain: ET.Element, confinement: Confinement, runs_as: Account | None) -> None:
    if confinement.partition:
        _text(ET.SubElement(domain, "resource"), "partition", confinement.partition)
    if runs_as:
        label = ET.SubElement(domain, "seclabel", type="static", model="dac", relabel="no")
        _text(label, "label", f"+{runs_as.uid}:+{runs_as.gid}")


def _sysinfo(domain: ET.Element, guest: GuestSpec) -> None:
    sysinfo = ET.SubElement(domain, "sysinfo", type="smbios")
    entries = {
        "manufacturer": "Pileus",
        "product": "Pileus",
        "serial": guest.server_id,
        "uuid": guest.server_id,
        "family": "Virtual Machine",
    }
    system = ET.SubElement(sysinfo, "system")
    for name, value in entries.items():
        _text(system, "entry", value, name=name)
    chassis = ET.SubElement(sysinfo, "chassis")
    _text(chassis, "entry", "Pileus", name="manufacturer")
    _text(chassis, "entry", _CHASSIS_ASSET, name="asset")


def _cpu(domain: ET.Element, guest: GuestSpec, virt_type: str) -> None:
    if virt_type == "kvm":
        cpu = ET.SubElement(domain, "cpu", mode="host-model", check="partial")
    else:
        # TCG emulates every model at the same cost; this one every guest can run on.
        cpu = ET.SubElement(domain, "cpu", mode="custom", match="exact", check="none")
        _text(cpu, "model", "qemu64", fallback="allow")
    shape = topology.choose(guest.vcpus, guest.extra_specs, guest.image.properties if guest.image else {})
    ET.SubElement(cpu, "topology", sockets=str(shape.sockets), cores=str(shape.cores), threads=str(shape.threads))


def _clock(domain: ET.Element, virt_type: str) -> None:
    clock = ET.SubElement(domain, "clock", offset="utc")
    if virt_type == "kvm":
        # Missed ticks are caught up for a guest that counts them, and dropped where catching up would storm.
        ET.SubElement(clock, "timer", name="pit", tickpolicy="delay")
        ET.SubElement(clock, "timer", name="rtc", tickpolicy="catchup")
    ET.SubElement(clock, "timer", name="hpet", present="no")


def _disk(devices: ET.Element, disk: Disk, boot_order: int | None) -> None:
    element = ET.SubElement(devices, "disk", type="file", device="cdrom" if disk.cdrom else "disk")
    driver = {"name": "qemu", "type": disk.format}
    if not disk.cdrom:
        driver["discard"] = "unmap"
    ET.SubElement(element, "driver", driver)
    ET.SubElement(element, "source", file=str(disk.path))
    ET.SubElement(element, "target", dev=disk.target, bus=disk.bus)
    if disk.cdrom:
        ET.SubElement(element, "readonly")
    if disk.serial:
        _text(element, "serial", disk.serial)
    if boot_order:
        ET.SubElement(element, "boot", order=str(boot_order))


def _consoles(devices: ET.Element, console: Path) -> None:
    serial = ET.SubElement(devices, "serial", type="pty")
    # Without append the log would begin anew at every start, and a guest's last words be lost.
    ET.SubElement(serial, "log", file=str(console), append="on")
    ET.SubElement(serial, "target", type="isa-serial", port="0")
    graphics = ET.SubElement(devices, "graphics", type="vnc", autoport="yes", websocket="-1", listen="127.0.0.1")
    ET.SubElement(graphics, "listen", type="address", address="127.0.0.1")
    ET.SubElement(ET.SubElement(devices, "video"), "model", type="vga")


def _helpers(devices: ET.Element) -> None:
    balloon = ET.SubElement(devices, "memballoon", model="virtio")
    ET.SubElement(balloon, "stats", period="10")
    rng = ET.SubElement(devices, "rng", model="virtio")
    _text(rng, "backend", "/dev/urandom", model="random")


def _agent(devices: ET.Element) -> None:
    """Where the agent inside a guest listens; libvirt chooses the socket and the bus."""
    channel = ET.SubElement(devices, "channel", type="unix")
    ET.SubElement(channel, "target", type="virtio", name="org.qemu.guest_agent.0")
