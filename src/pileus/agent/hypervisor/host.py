"""What a host has to offer: inventories, traits, CPU."""

from __future__ import annotations

import functools
import os
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import os_resource_classes
import os_traits

from pileus.agent.commands import Inventory

VCPU_RATIO = 4.0
MEMORY_RESERVED_MIB = 512
_GIB = 1 << 30

# Traits of what this driver can give to a guest (os-traits).
_ABILITIES = (
    "COMPUTE_FIRMWARE_BIOS",
    "COMPUTE_GRAPHICS_MODEL_VGA",
    "COMPUTE_IMAGE_TYPE_ISO",
    "COMPUTE_IMAGE_TYPE_QCOW2",
    "COMPUTE_IMAGE_TYPE_RAW",
    "COMPUTE_IMAGE_TYPE_VDI",
    "COMPUTE_IMAGE_TYPE_VHD",
    "COMPUTE_IMAGE_TYPE_VHDX",
    "COMPUTE_IMAGE_TYPE_VMDK",
    "COMPUTE_NET_VIF_MODEL_VIRTIO",
    "COMPUTE_STORAGE_BUS_IDE",
    "COMPUTE_STORAGE_BUS_VIRTIO",
)

# Flags of /proc/cpuinfo whose trait has another name than HW_CPU_X86_<FLAG>.
_FLAG_TRAITS = {
    "aes": "AESNI",
    "amx_bf16": "AMXBF16",
    "amx_int8": "AMXINT8",
    "amx_tile": "AMXTILE",
    "avx512_bitalg": "AVX512BITALG",
    "avx512_vbmi2": "AVX512VBMI2",
    "avx512_vnni": "AVX512VNNI",
    "avx512_vpopcntdq": "AVX512VPOPCNTDQ",
    "avx512vbmi": "AVX512VBMI",
    "bmi1": "BMI",
    "fma": "FMA3",
    "pclmulqdq": "CLMUL",
    "pdpe1gb": "PDPE1GB",
    "pni": "SSE3",
    "rtm": "TSX",
    "sha_ni": "SHA",
    "sse4_1": "SSE41",
    "sse4_2": "SSE42",
}


def inventories(storage: Path) -> dict[str, Inventory]:
    """Totals of this machine by resource class; disk is the file system that holds `storage`."""
    cpus = os.cpu_count() or 1
    memory_mib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20
    disk = os.statvfs(storage)
    disk_gib = disk.f_frsize * disk.f_blocks // _GIB
    return {
        os_resource_classes.VCPU: Inventory(total=cpus, max_unit=cpus, allocation_ratio=VCPU_RATIO),
        os_resource_classes.MEMORY_MB: Inventory(
            total=memory_mib, max_unit=memory_mib, reserved=min(MEMORY_RESERVED_MIB, memory_mib)
        ),
        os_resource_classes.DISK_GB: Inventory(total=disk_gib, max_unit=disk_gib),
    }


@functools.cache
def traits() -> tuple[str, ...]:
    """What this driver can do and the processor's features, as names of os-traits."""
    named = (f"HW_CPU_X86_{_FLAG_TRAITS.get(flag, flag.upper())}" for flag in cpu_flags())
    known = set(os_traits.get_traits())
    return tuple(sorted(known.intersection((*_ABILITIES, *named))))


def cpu_flags() -> set[str]:
    """The first processor's flags (proc(5))."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "flags":
            return set(value.split())
    return set()


def cpu_info(capabilities: str) -> dict[str, Any]:
    """Nova's cpu_info (api-ref compute, os-hypervisors) from libvirt's capabilities document."""
    host = ET.fromstring(capabilities).find("host")  # noqa: S314 - libvirt's own
    cpu = host.find("cpu") if host is not None else None
    if host is None or cpu is None:
        return {}
    shape = cpu.find("topology")
    topology = (
        {name: int(shape.get(name, "1")) for name in ("sockets", "cores", "threads")} if shape is not None else {}
    )
    topology["cells"] = len(host.findall("topology/cells/cell")) or 1
    features = sorted({name for feature in cpu.findall("feature") if (name := feature.get("name"))})
    return {
        "arch": cpu.findtext("arch", ""),
        "model": cpu.findtext("model", ""),
        "vendor": cpu.findtext("vendor", ""),
        "topology": topology,
        "features": features,
    }
