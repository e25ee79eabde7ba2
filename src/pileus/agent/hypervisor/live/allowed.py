"""What the definition of a guest that is awaited may say: what this host would define, and little that libvirt adds."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections import Counter
from copy import deepcopy

from pileus.agent.commands.live import MOST_DISKS
from pileus.agent.errors import CommandFailed

_NUMBER, _SWITCH = r"\d{1,20}", "on|off"
_HEX = r"0x[0-9a-f]{1,4}"
_ADDRESS = {
    "": "",
    "@type": "pci|drive|virtio-serial",
    "@multifunction": _SWITCH,
    **{f"@{name}": f"{_HEX}|\\d{{1,2}}" for name in ("domain", "bus", "slot", "function")},
    **{f"@{name}": r"\d{1,2}" for name in ("controller", "target", "unit", "port")},
}
_PROCESSOR = {
    "@mode": "custom|host-model",
    "@match": "exact|minimum|strict",
    "@check": "none|partial|full",
    "@migratable": _SWITCH,
    "/model": r"[\w.-]{1,60}",
    "/model@fallback": "allow|forbid",
    "/vendor": r"\w{1,20}",
    "/topology": "",
    "/topology@dies": "1",
    "/topology@clusters": "1",
    "/feature": "",
    "/feature@policy": "force|require|optional|disable|forbid",
    "/feature@name": r"[\w.-]{1,60}",
    "/cache": "",
    "/cache@mode": "emulate|passthrough|disable",
    "/cache@level": "[123]",
    "/maxphysaddr": "",
    "/maxphysaddr@mode": "emulate|passthrough",
    "/maxphysaddr@bits": r"\d{1,2}",
    "/maxphysaddr@limit": r"\d{1,2}",
}


def _under(path: str, table: dict[str, str]) -> dict[str, str]:
    return {path + name: pattern for name, pattern in table.items()}


_GIVEN = {
    "domain/currentMemory": _NUMBER,
    "domain/currentMemory@unit": "KiB",
    "domain/os/type@machine": r"pc-i440fx-\d{1,2}\.\d{1,2}",
    **_under("domain/cpu", _PROCESSOR),
    "domain/devices/emulator": r"/usr/bin/qemu-system-x86_64",
    **_under("domain/devices/disk/address", _ADDRESS),
    **_under("domain/devices/controller/address", _ADDRESS),
    **_under("domain/devices/channel/address", _ADDRESS),
    **_under("domain/devices/interface/address", _ADDRESS),
    **_under("domain/devices/video/address", _ADDRESS),
    **_under("domain/devices/memballoon/address", _ADDRESS),
    **_under("domain/devices/rng/address", _ADDRESS),
    "domain/devices/controller": "",
    "domain/devices/controller@type": "ide|virtio-serial",
    "domain/devices/controller@index": r"\d",
    "domain/devices/controller@ports": r"\d{1,2}",
    "domain/devices/serial/target/model": "",
    "domain/devices/serial/target/model@name": "isa-serial",
    "domain/devices/input": "",
    "domain/devices/input@type": "mouse|keyboard",
    "domain/devices/input@bus": "ps2",
    "domain/devices/interface/mtu@size": r"\d{2,5}",
    "domain/devices/graphics@port": "-1",
    "domain/devices/audio": "",
    "domain/devices/audio@id": "1",
    "domain/devices/audio@type": "none",
    "domain/devices/video/model@vram": _NUMBER,
    "domain/devices/video/model@heads": "1",
    "domain/devices/video/model@primary": "yes",
    "qemu-migration/name": r"[\w.-]{1,80}",
    "qemu-migration/hostname": r"[\w.-]{0,255}",
    "qemu-migration/hostuuid": r"[0-9a-f-]{36}",
    "qemu-migration/allowReboot": "",
    "qemu-migration/allowReboot@value": "yes|no",
    "qemu-migration/feature": "",
    "qemu-migration/feature@name": r"[\w-]{1,40}",
    "qemu-migration/network": "",
    "qemu-migration/network/interface": "",
    "qemu-migration/network/interface@index": r"\d{1,2}",
    "qemu-migration/network/interface@vporttype": "openvswitch",
    "qemu-migration/network/interface/portdata": "",
    "qemu-migration/nbd": "",
    "qemu-migration/nbd/disk": "",
    "qemu-migration/nbd/disk@target": "[a-z]{3}",
    "qemu-migration/nbd/disk@capacity": _NUMBER,
    **_under("qemu-migration/cpu", {"": "", **_PROCESSOR}),
    **{f"qemu-migration/cpu/topology@{name}": r"\d{1,4}" for name in ("sockets", "cores", "threads")},
    "qemu-migration/capabilities": "",
    "qemu-migration/capabilities/cap": "",
    "qemu-migration/capabilities/cap@name": r"[\w-]{1,40}",
    "qemu-migration/capabilities/cap@auto": "yes|no",
    "qemu-migration/statistics": "",
    "qemu-migration/statistics/*": _NUMBER,
}
"""Texts of elements and values of attributes that libvirt gives. An element of these may be there without us, once."""
_SEVERAL = {
    "domain/cpu/feature": 1024,  # libvirt knows some hundreds
    "qemu-migration/cpu/feature": 1024,
    "domain/devices/controller": 32,  # one for each PCI slot
    "domain/devices/input": 2,  # a mouse and a keyboard
    "qemu-migration/feature": 16,  # more than the kinds that libvirt 9.0 has
    "qemu-migration/network/interface": 64,
    "qemu-migration/nbd/disk": MOST_DISKS,
    "qemu-migration/capabilities/cap": 64,  # more than QEMU 7.2 has
    "qemu-migration/statistics/*": 64,  # more than libvirt 9.0 tells
}
"""How often, of what may be there more than once."""
_BLANK = " \t\r\n"
"""What is between elements (XML 1.0, 2.3)."""


def expected(definition: str) -> ET.Element:
    """A guest's definition as libvirt tells it of one that is there.

    Args:
        definition: what this host would define (domain.xml).
    """
    domain = ET.fromstring(definition)  # noqa: S314 - our own
    memory = domain.find("memory")
    if memory is not None and memory.get("unit") == "MiB":
        memory.text, memory.attrib["unit"] = str(int(memory.text or "") * 1024), "KiB"
    if domain.get("type") == "kvm" and (cpu := domain.find("cpu")) is not None:
        cpu.attrib.clear()  # the host's own, spelled out
    for mac in domain.iterfind("devices/interface/mac"):
        mac.set("address", mac.get("address", "").lower())
    for devices in domain.findall("devices"):
        for serial in devices.findall("serial"):
            console = deepcopy(serial)
            console.tag = "console"
            for target in console.iter("target"):
                target.set("type", "serial")
            devices.append(console)
    return domain


def check(wanted: ET.Element, found: ET.Element) -> None:
    """All that is wanted has to be there with these values, and nothing else but what libvirt adds.

    Raises:
        CommandFailed: it says something else; named by where in it.
    """
    if why := _differs(wanted, found, wanted.tag):
        raise refused(f"something else in {why}")


def check_processor(text: str) -> None:
    """Raises CommandFailed, ValueError: it is no processor as libvirt writes one."""
    if why := _differs(ET.Element("cpu"), parsed(text), "qemu-migration/cpu"):
        raise refused(f"something else in {why}")


def cookie(server_id: str) -> ET.Element:
    """What libvirts tell each other of a guest, as `check` wants it."""
    wanted = ET.Element("qemu-migration")
    ET.SubElement(wanted, "name")
    ET.SubElement(wanted, "uuid").text = server_id
    ET.SubElement(wanted, "hostuuid")
    return wanted


def parsed(text: str) -> ET.Element:
    """Raises ValueError: it is no document, or more than one reader might understand in the same way."""
    if "<!" in text or "<?" in text:
        raise ValueError("a document with declarations")
    try:
        return ET.fromstring(text)  # noqa: S314 - it declares nothing
    except ET.ParseError as error:
        raise ValueError(str(error)) from error


def refused(what: str) -> CommandFailed:
    """The failure of a connection on which something is said that may not be."""
    return CommandFailed("refused", f"the other host's libvirt said what it may not: {what}")


def _differs(wanted: ET.Element, found: ET.Element, path: str) -> str:
    """Where, "" if nowhere: each of what is wanted is found once."""
    if found.tag != wanted.tag:
        return str(found.tag)[:40]
    text = _text(found)
    if text != _text(wanted) and not _is_given(path, text):
        return path
    for name, value in found.items():
        if value != wanted.get(name) and not _is_given(f"{path}@{name}", value):
            return f"{path}@{name}"[:80]
    if missing := set(wanted.attrib) - set(found.attrib):
        return f"{path}@{min(missing)}"
    left, given = list(wanted), Counter[str]()
    for child in found:
        below = f"{path}/{child.tag}"
        same = next((one for one in left if one.tag == child.tag and not _differs(one, child, below)), None)
        if same is not None:
            left.remove(same)
        else:
            key = _key(below)
            given[key] += 1
            if key not in _GIVEN or given[key] > _SEVERAL.get(key, 1):
                return below[:80]
            if _differs(ET.Element(child.tag), child, below):
                return below[:80]
        if (child.tail or "").strip(_BLANK):
            return path
    return f"{path}/{left[0].tag}" if left else ""


def _text(element: ET.Element) -> str:
    """As libvirt reads it, blanks included; "" if there is nothing but these, as between elements."""
    text = element.text or ""
    return text if text.strip(_BLANK) else ""


def _key(path: str) -> str:
    """What speaks of a path in our tables."""
    parent, _, name = path.rpartition("/")
    return path if path in _GIVEN or "@" in name else f"{parent}/*"


def _is_given(path: str, value: str) -> bool:
    pattern = _GIVEN.get(_key(path))
    return pattern is not None and re.fullmatch(pattern, value, re.ASCII) is not None
