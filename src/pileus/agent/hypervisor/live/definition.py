"""What libvirt is told of a guest that moves as it runs: how it goes, and as what it arrives."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import libvirt

from pileus.agent import carrier
from pileus.agent.commands import Arrival, MovingDisk
from pileus.agent.hypervisor.libvirtd import MEETING


def flags(block: bool) -> int:
    """How libvirt is to move it; `block`: with its disks."""
    found = (
        libvirt.VIR_MIGRATE_LIVE
        | libvirt.VIR_MIGRATE_PEER2PEER
        | libvirt.VIR_MIGRATE_PERSIST_DEST
        | libvirt.VIR_MIGRATE_UNDEFINE_SOURCE
        | libvirt.VIR_MIGRATE_PAUSED
        | libvirt.VIR_MIGRATE_UNSAFE  # both hosts were asked whether they see the same storage
    )
    return int(found | libvirt.VIR_MIGRATE_NON_SHARED_INC if block else found)


def uris(server_id: str) -> tuple[str, str]:
    """By which its memory goes, and its disks: to sockets of the machine, as libvirtd sees them."""
    folder = f"{MEETING}/{server_id}"
    return f"unix:{folder}/{carrier.MEMORY}", f"unix://{folder}/{carrier.DISKS}"


def disks(text: str, directory: Path, size: Callable[[str], int]) -> tuple[MovingDisk, ...]:
    """The disks in a definition that the guest writes; `size` gives that of a target, bytes."""
    found = []
    for element in ET.fromstring(text).iterfind("devices/disk"):  # noqa: S314 - libvirt's own
        source, target, driver = element.find("source"), element.find("target"), element.find("driver")
        if source is None or target is None or driver is None or element.find("readonly") is not None:
            continue
        path, name = Path(source.get("file", "")), target.get("dev", "")
        if path.parent == directory:
            found.append(MovingDisk(name=path.name, target=name, format=driver.get("type", ""), size=size(name)))
    return tuple(found)


def cpu(text: str) -> str:
    """The processor in a definition, "" if it is one that is emulated everywhere."""
    domain = ET.fromstring(text)  # noqa: S314 - libvirt's own
    element = domain.find("cpu")
    return "" if element is None or domain.get("type") != "kvm" else ET.tostring(element, encoding="unicode")


def for_destination(text: str, directory: Path, arrival: Arrival) -> str:
    """A definition that names the destination's files, user and control group in place of the source's."""
    domain = ET.fromstring(text)  # noqa: S314 - libvirt's own
    for element in domain.iter():
        if (path := element.get("file")) and Path(path).parent == directory:
            element.set("file", f"{arrival.directory}/{Path(path).name}")
    for disk in domain.iterfind("devices/disk"):
        _remove(disk, "backingStore")  # the new disk says what it stands on
    for tag in ("memtune", "resource", "seclabel", "name"):
        _remove(domain, tag)
    ET.SubElement(domain, "name").text = arrival.name
    if arrival.partition:
        ET.SubElement(ET.SubElement(domain, "resource"), "partition").text = arrival.partition
    if arrival.runs_as:
        label = ET.SubElement(domain, "seclabel", type="static", model="dac", relabel="no")
        ET.SubElement(label, "label").text = arrival.runs_as
    return ET.tostring(domain, encoding="unicode")


def _remove(parent: ET.Element, tag: str) -> None:
    for element in parent.findall(tag):
        parent.remove(element)
