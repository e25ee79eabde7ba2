"""What a machine is made of, as its kernel tells (sysfs): NUMA cells and PCI devices. Nothing is changed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from pileus.agent.commands import Hardware, NumaCell, PciDevice

SYSFS = Path("/sys")


def read(sysfs: Path = SYSFS) -> Hardware:
    """The machine's hardware; of what the kernel does not tell, nothing."""
    return Hardware(cells=tuple(_cells(sysfs)), devices=tuple(_devices(sysfs)))


def _cells(sysfs: Path) -> Iterator[NumaCell]:
    """NUMA nodes, in the order of their numbers (kernel documentation, ABI/stable/sysfs-devices-node)."""
    nodes = sysfs.glob("devices/system/node/node*")
    for number, node in sorted((int(one.name[4:]), one) for one in nodes if one.name[4:].isdigit()):
        total = re.search(r"MemTotal:\s+(\d+) kB", _text(node / "meminfo"))
        yield NumaCell(id=number, cpus=_text(node / "cpulist"), memory_mib=int(total[1]) >> 10 if total else 0)


def _devices(sysfs: Path) -> Iterator[PciDevice]:
    """PCI functions by their addresses (kernel documentation, ABI/testing/sysfs-bus-pci)."""
    for device in sorted(sysfs.glob("bus/pci/devices/*")):
        cell = _text(device / "numa_node")
        yield PciDevice(
            address=device.name,
            vendor_id=_id(device / "vendor"),
            product_id=_id(device / "device"),
            class_id=_id(device / "class"),
            cell=int(cell) if cell.isdigit() else None,  # -1: none in particular
            driver=(device / "driver").resolve().name if (device / "driver").exists() else "",
            parent=(device / "physfn").resolve().name if (device / "physfn").exists() else "",
        )


def _id(file: Path) -> str:
    return _text(file).removeprefix("0x")


def _text(file: Path) -> str:
    try:
        return file.read_text().strip()
    except OSError:  # a device may go at any time
        return ""
