"""What a host has to offer."""

from __future__ import annotations

from pathlib import Path

import pytest

from pileus.agent.hypervisor import host

CAPABILITIES = """<capabilities><host><cpu><arch>x86_64</arch><model>EPYC</model><vendor>AMD</vendor>
<topology sockets='1' dies='1' cores='2' threads='2'/><feature name='vme'/><feature name='avx'/></cpu>
<topology><cells num='2'><cell id='0'/><cell id='1'/></cells></topology></host></capabilities>"""


def test_inventories(tmp_path: Path) -> None:
    found = host.inventories(tmp_path)
    assert found.keys() == {"VCPU", "MEMORY_MB", "DISK_GB"}
    assert (found["VCPU"].allocation_ratio, found["MEMORY_MB"].reserved) == (4.0, 512)
    for inventory in found.values():
        assert 0 < inventory.max_unit == inventory.total


def test_traits(monkeypatch: pytest.MonkeyPatch) -> None:
    host.traits.cache_clear()
    monkeypatch.setattr(host, "cpu_flags", lambda: {"sse4_1", "aes", "avx512f", "no_such_flag", "vmx"})
    shown = {trait for trait in host.traits() if trait.startswith("HW_")}
    assert shown == {"HW_CPU_X86_SSE41", "HW_CPU_X86_AESNI", "HW_CPU_X86_AVX512F", "HW_CPU_X86_VMX"}
    assert {"COMPUTE_IMAGE_TYPE_QCOW2", "COMPUTE_NET_VIF_MODEL_VIRTIO"} <= set(host.traits())
    host.traits.cache_clear()


def test_cpu_info() -> None:
    assert host.cpu_info(CAPABILITIES) == {
        "arch": "x86_64",
        "model": "EPYC",
        "vendor": "AMD",
        "topology": {"cells": 2, "sockets": 1, "cores": 2, "threads": 2},
        "features": ["avx", "vme"],
    }
    assert host.cpu_info("<capabilities><host/></capabilities>") == {}
