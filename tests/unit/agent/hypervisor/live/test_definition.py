"""A guest's definition on its way from one host to another."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

from pileus.agent.commands import Arrival, MovingDisk
from pileus.agent.hypervisor.live import definition

TEXT = """<domain type='kvm'><name>n</name><uuid>u</uuid><memtune><hard_limit>1</hard_limit></memtune>
<resource><partition>/here</partition></resource><cpu mode='custom'><model>qemu64</model></cpu><devices>
<disk type='file' device='disk'><driver type='qcow2'/><source file='/a/disk'/><backingStore type='file'>
<source file='/a/base'/></backingStore><target dev='vda'/></disk>
<disk type='file' device='cdrom'><driver type='raw'/><source file='/a/disk.config'/>
<target dev='hdd'/><readonly/></disk>
<serial type='pty'><log file='/a/console.log'/></serial></devices>
<seclabel type='static' model='dac'><label>+1:+2</label></seclabel></domain>"""
ARRIVAL = Arrival(block=True, name="other", directory="/b", runs_as="+3:+4", partition="/there")


def test_disks_that_are_written() -> None:
    disk = MovingDisk(name="disk", target="vda", format="qcow2", size=7)
    assert definition.disks(TEXT, Path("/a"), lambda target: 7) == (disk,)
    assert definition.disks(TEXT, Path("/c"), lambda target: 7) == ()


def test_the_processor_matters_where_it_is_the_hosts() -> None:
    assert "qemu64" in definition.cpu(TEXT) and definition.cpu(TEXT.replace("'kvm'", "'qemu'")) == ""


def test_it_names_what_the_destination_has() -> None:
    text = definition.for_destination(TEXT, Path("/a"), ARRIVAL)
    domain = ET.fromstring(text)
    assert domain.findtext("name") == "other" and domain.findtext("resource/partition") == "/there"
    assert [one.text for one in domain.iterfind("seclabel/label")] == ["+3:+4"]
    assert {one.get("file") for one in domain.iter() if one.get("file")} == {
        "/b/disk",
        "/b/disk.config",
        "/b/console.log",
    }
    assert "memtune" not in text and "backingStore" not in text and "/a/" not in text
    bare = definition.for_destination(TEXT, Path("/a"), Arrival(name="n", directory="/b"))
    assert "seclabel" not in bare and "partition" not in bare
