"""Extra specs that are known, and what their values must be (user guide compute, Extra Specs)."""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec
import os_resource_classes

from pileus.errors import Invalid
from pileus.placement import traits
from pileus.values import WORDS


class Kind(msgspec.Struct, frozen=True):
    """What a value must look like."""

    type: str = "text"
    least: int | None = None
    most: int | None = None
    pattern: str = ""
    words: tuple[str, ...] = ()


TEXT, TRUTH, INTEGER = Kind(), Kind("bool"), Kind("int")
NATURAL, POSITIVE = Kind("int", least=0), Kind("int", least=1)
CPU_MASK = Kind(pattern=r"\^?\d+((-\d+)?(,\^?\d+(-\d+)?)?)*")
SHARES = Kind(words=("custom", "high", "normal", "low"))
GROUP = r"([a-zA-Z0-9_-]{1,64})?"


def _all(prefix: str, names: str | Iterable[str], kind: Kind) -> dict[str, Kind]:
    words = names.split() if isinstance(names, str) else names
    return {prefix + re.escape(name): kind for name in words}


def _words(*words: str) -> Kind:
    return Kind(words=words)


_HW = {
    **_all(
        "hw:",
        "cpu_realtime hide_hypervisor_id locked_memory boot_menu vif_multiqueue_enabled mem_encryption pmu"
        " virtio_packed_ring ephemeral_encryption",
        TRUTH,
    ),
    **_all(
        "hw:",
        "numa_nodes cpu_sockets cpu_cores cpu_threads cpu_max_sockets cpu_max_cores cpu_max_threads",
        POSITIVE,
    ),
    **_all("hw:", "cpu_realtime_mask cpu_dedicated_mask", CPU_MASK),
    r"hw:numa_cpus\.\d+": CPU_MASK,
    r"hw:numa_mem\.\d+": POSITIVE,
    "hw:cpu_policy": _words("dedicated", "shared", "mixed"),
    "hw:cpu_thread_policy": _words("prefer", "isolate", "require"),
    "hw:emulator_threads_policy": _words("isolate", "share"),
    "hw:mem_page_size": Kind(pattern=r"(large|small|any|\d+([kKMGT]i?)?(b|bit|B)?)"),
    "hw:pci_numa_affinity_policy": _words("required", "preferred", "legacy", "socket"),
    "hw:mem_encryption_model": _words("amd-sev", "amd-sev-es", "amd-sev-snp", "intel-tdx"),
    "hw:pmem": Kind(pattern=r"([a-zA-Z0-9_]+(,)?)+"),
    "hw:serial_port_count": NATURAL,
    "hw:tpm_model": _words("tpm-tis", "tpm-crb"),
    "hw:tpm_version": _words("1.2", "2.0"),
    "hw:tpm_secret_security": _words("user", "host", "deployment"),
    "hw:watchdog_action": _words("none", "pause", "poweroff", "reset", "disabled"),
    "hw:viommu_model": _words("intel", "smmuv3", "virtio", "auto"),
    "hw:sound_model": _words("sb16", "es1370", "pcspk", "ac97", "ich6", "ich9", "usb", "virtio"),
    "hw:usb_model": _words("none", "nec-xhci", "qemu-xhci"),
    "hw:redirected_usb_ports": Kind("int", least=0, most=15),
    "hw:ephemeral_encryption_format": _words("plain", "luks", "luksv2"),
    "hw_rng:allowed": TRUTH,
    **_all("hw_rng:", "rate_bytes rate_period", NATURAL),
    "hw_video:ram_max_mb": NATURAL,
}
_QUOTA = {
    **_all("quota:", "cpu_reservation memory_reservation disk_io_reservation vif_reservation cpu_quota", INTEGER),
    **_all("quota:", "cpu_shares_level memory_shares_level disk_io_shares_level vif_shares_level", SHARES),
    **_all("quota:", "cpu_limit cpu_shares_share memory_limit memory_shares_share disk_io_limit", NATURAL),
    **_all("quota:", "disk_io_shares_share vif_limit vif_shares_share cpu_shares cpu_period", NATURAL),
    r"quota:disk_(read|write|total)_(bytes|iops)_sec": NATURAL,
    r"quota:vif_(in|out)bound_(average|peak|burst)": NATURAL,
}
_CAPABILITIES = {
    **_all(
        "capabilities:",
        "id uuid service_id host vcpus memory_mb local_gb vcpus_used memory_mb_used local_gb_used mapped"
        " hypervisor_type hypervisor_version hypervisor_hostname free_ram_mb free_disk_gb current_workload"
        " running_vms host_ip disk_available_least cpu_allocation_ratio ram_allocation_ratio failed_builds"
        " disk_allocation_ratio total_usable_ram_mb total_usable_disk_gb disk_mb_used free_disk_mb"
        " vcpus_total num_instances num_io_ops aggregates cell_uuid updated",
        TEXT,
    ),
    r"capabilities:(cpu_info|metrics|stats|numa_topology|supported_hv_specs|pci_device_pools|nodename|pci_stats"
    r"|supported_instances|limits)(:\w+)*": TEXT,
}
KNOWN = {
    **_HW,
    **_QUOTA,
    **_CAPABILITIES,
    "accel:device_profile": TEXT,
    r"aggregate_instance_extra_specs:.+": TEXT,
    "hide_hypervisor_id": TRUTH,
    "group_policy": _words("isolate", "none"),
    "os:secure_boot": _words("disabled", "required"),
    "pci_passthrough:alias": Kind(pattern=r"[^:]+:\d+(?:\s*,\s*[^:]+:\d+)*"),
    **_all(f"resources{GROUP}:", os_resource_classes.STANDARDS, INTEGER),
    rf"resources{GROUP}:CUSTOM_[A-Z0-9_]+": INTEGER,
    rf"trait{GROUP}:CUSTOM_[A-Z0-9_]+": _words("required", "forbidden"),
    **_all("vmware:", "hw_version storage_policy", TEXT),
}
"""A pattern of names to what the value must be; standard traits are looked up instead."""
_NAMESPACES = re.compile(
    rf"accel|aggregate_instance_extra_specs|capabilities|hw|hw_rng|hw_video|os|pci_passthrough|quota"
    rf"|resources{GROUP}|trait{GROUP}|vmware"
)


def check(name: str, value: str) -> None:
    """Refuse a name that a known namespace does not have, or a value that it may not have (from 2.86 on).

    Raises:
        Invalid: naming the spec or the value.
    """
    kind = _kind(name)
    if kind is not None:
        _check_value(kind, value)
    elif ":" in name and _NAMESPACES.fullmatch(name.split(":", 1)[0]):
        raise Invalid(f"Validation failed; extra spec '{name}' does not appear to be a valid extra spec.")


def _kind(name: str) -> Kind | None:
    if name in KNOWN:
        return KNOWN[name]
    if re.fullmatch(f"trait{GROUP}:.+", name) and name.split(":", 1)[1] in traits.standard():
        return _words("required", "forbidden")
    return next((kind for pattern, kind in KNOWN.items() if re.fullmatch(pattern, name)), None)


def _check_value(kind: Kind, value: str) -> None:
    if kind.type == "bool" and value.strip().lower() not in WORDS:
        raise Invalid(f"Validation failed; '{value}' is not a valid boolean-like value.")
    if kind.type == "int":
        _check_integer(kind, value)
    if kind.pattern and not re.fullmatch(kind.pattern, value):
        raise Invalid(f"Validation failed; '{value}' is not of the format '{kind.pattern}'.")
    if kind.words and value not in kind.words:
        raise Invalid(f"Validation failed; '{value}' is not one of: {', '.join(kind.words)}.")


def _check_integer(kind: Kind, value: str) -> None:
    try:
        number = int(value)
    except ValueError:
        raise Invalid(f"Validation failed; '{value}' is not a valid integer value.") from None
    if kind.least is not None and number < kind.least:
        raise Invalid(f"Validation failed; '{value}' is less than the min value of '{kind.least}'.")
    if kind.most is not None and number > kind.most:
        raise Invalid(f"Validation failed; '{value}' is greater than the max value of '{kind.most}'.")
