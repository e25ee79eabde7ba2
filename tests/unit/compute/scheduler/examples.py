"""Hosts and requests as the scheduler sees them."""

from __future__ import annotations

from typing import Any

from pileus.compute.scheduler.hosts import HostState, Room
from pileus.compute.scheduler.request import Request


def host(name: str = "h1", **changes: Any) -> HostState:
    """One with room for a few servers, but for these changes."""
    values: dict[str, Any] = {
        "provider_id": f"rp-{name}", "generation": 1, "name": name, "zone": "nova", "disabled": False,
        "forced_down": False, "hypervisor_type": "QEMU", "architecture": "x86_64",
        "rooms": {
            "VCPU": Room(total=4, limit=16, used=0, max_unit=4),
            "MEMORY_MB": Room(total=4096, limit=4096, used=0, max_unit=4096),
            "DISK_GB": Room(total=100, limit=100, used=0, max_unit=100),
        },
        "traits": frozenset({"HW_CPU_X86_AVX"}),
    }  # fmt: skip
    return HostState(**values | changes)


def request(server_id: str = "s1", **changes: Any) -> Request:
    """For a small server that may be anywhere, but for these changes."""
    values: dict[str, Any] = {
        "server_id": server_id, "project_id": "p", "user_id": "u",
        "resources": {"VCPU": 1, "MEMORY_MB": 512, "DISK_GB": 1}, "zone": None, "host": None, "hints": {},
        "extra_specs": {}, "image_properties": {},
    }  # fmt: skip
    return Request(**values | changes)
