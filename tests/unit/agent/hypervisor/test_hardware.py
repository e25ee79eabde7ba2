"""What a machine is made of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pileus.agent.commands import Hardware, NumaCell, PciDevice
from pileus.agent.hypervisor import hardware


def _write(root: Path, **texts: str) -> None:
    root.mkdir(parents=True)
    for name, text in texts.items():
        (root / name).write_text(f"{text}\n")


def _card(address: str, product_id: str, **values: Any) -> PciDevice:
    return PciDevice(address=address, vendor_id="15b3", product_id=product_id, class_id="020000", **values)


def test_cells_and_devices(tmp_path: Path) -> None:
    nodes, bus = tmp_path / "devices/system/node", tmp_path / "bus/pci"
    _write(nodes / "node10", cpulist="4-7", meminfo="Node 10 MemFree:  1 kB\nNode 10 MemTotal:  4096 kB")
    _write(nodes / "node2", cpulist="0-1,3", meminfo="Node 2 MemTotal:       2048 kB")
    _write(nodes / "power")
    card, port = bus / "devices/0000:03:00.0", bus / "devices/0000:03:00.1"
    _write(card, vendor="0x15b3", device="0x1017", **{"class": "0x020000"}, numa_node="2")
    _write(port, vendor="0x15b3", device="0x1018", **{"class": "0x020000"}, numa_node="-1")
    _write(bus / "drivers/mlx5_core")
    (card / "driver").symlink_to(bus / "drivers/mlx5_core")
    (port / "physfn").symlink_to(card)
    assert hardware.read(tmp_path) == Hardware(
        cells=(NumaCell(id=2, cpus="0-1,3", memory_mib=2), NumaCell(id=10, cpus="4-7", memory_mib=4)),
        devices=(
            _card("0000:03:00.0", "1017", cell=2, driver="mlx5_core"),
            _card("0000:03:00.1", "1018", parent="0000:03:00.0"),
        ),
    )


def test_a_kernel_that_tells_nothing(tmp_path: Path) -> None:
    _write(tmp_path / "bus/pci/devices/0000:00:00.0")  # it has just gone
    nothing = PciDevice(address="0000:00:00.0", vendor_id="", product_id="", class_id="")
    assert hardware.read(tmp_path) == Hardware(devices=(nothing,))
