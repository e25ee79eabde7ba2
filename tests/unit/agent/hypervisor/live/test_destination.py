"""What a destination has its libvirt look at."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from pileus.agent.commands import Departure
from pileus.agent.errors import CommandFailed
from pileus.agent.hypervisor.live.destination import DestinationCommands

PROCESSOR = "<cpu mode='custom' match='exact'><model fallback='allow'>qemu64</model></cpu>"


def test_libvirt_compares_no_processor_that_is_none_of_its_own() -> None:
    asked: list[str] = []
    libvirtd = SimpleNamespace(compareHypervisorCPU=lambda *given: asked.append(given[4]))
    there: Any = DestinationCommands.__new__(DestinationCommands)
    there._virt_type, there._connection = "kvm", SimpleNamespace(get=lambda: libvirtd)
    there._check_processor(Departure(virt_type="kvm", cpu=PROCESSOR))
    for bad in ("<!DOCTYPE cpu [<!ENTITY a 'b'>]>" + PROCESSOR, PROCESSOR.replace("/cpu", "/cpus"), "<domain/>"):
        with pytest.raises(CommandFailed, match="processor"):
            there._check_processor(Departure(virt_type="kvm", cpu=bad))
    assert asked == [PROCESSOR]
