"""A guest's libvirts may say to each other what brings it as this host would define it, and nothing else."""

from __future__ import annotations

import struct
import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from pileus.agent.account import Account
from pileus.agent.errors import CommandFailed
from pileus.agent.hypervisor import domain
from pileus.agent.hypervisor.confinement import Confinement
from pileus.agent.hypervisor.live import allowed
from pileus.agent.hypervisor.live import definition as way
from pileus.agent.hypervisor.live.filter import Announced, Calls, Replies
from tests.unit.agent.specs import PORT, SERVER, guest, image_of

FOLDER = f"/state/instances/{SERVER}"
INTERFACE = f"""<interface type='bridge'><mac address='fa:16:3e:00:00:01'/><source bridge='br-int'/>
<virtualport type='openvswitch'><parameters interfaceid='{PORT}'/></virtualport><target dev='tap1'/>
<model type='virtio'/><mtu size='1400'/></interface>"""
PCI = "<address type='pci' domain='0x0000' bus='0x00' slot='0x04' function='0x0'/>"
PREPARE, FINISH = 303, 306
MEMORY, DISKS = way.uris(SERVER)
REMOTE, KEEPALIVE = 0x20008086, 0x6B656570
Parameters = Sequence[tuple[str, str]]


def ours(virt_type: str = "qemu") -> str:
    """What this host would define."""
    disks = (domain.Disk(Path(f"{FOLDER}/disk"), "qcow2", "vda", serial="root"),)
    image = image_of(Path(__file__), "qcow2", properties={"hw_qemu_guest_agent": "yes"})
    owner, confinement = Account("pileus", 7, 8), Confinement(partition="/pileus")
    console = Path(f"{FOLDER}/console.log")
    shouted = INTERFACE.replace("fa:16:3e", "FA:16:3E")
    return domain.xml(guest(image=image), virt_type, disks, [shouted], console, confinement, owner)


def told(virt_type: str = "qemu") -> str:
    """The same as libvirt 9.0 tells it of a guest that leaves."""
    root = ET.fromstring(ours(virt_type))
    devices, mac = root.find("devices"), root.find("devices/interface/mac")
    assert devices is not None and mac is not None
    mac.set("address", "fa:16:3e:00:00:01")
    for path in ("memory", "os/type", "cpu/model", "cpu/topology", "devices/video/model"):
        for element in root.iterfind(path):
            element.attrib |= {
                "memory": {"unit": "KiB"},
                "type": {"machine": "pc-i440fx-7.2"},
                "topology": {"dies": "1"},
                "model": {"vram": "16384", "heads": "1", "primary": "yes"}
                if "video" in path
                else {"fallback": "forbid"},
            }[element.tag]
            element.text = {"memory": "524288"}.get(element.tag, element.text)
    for tag in ("disk", "interface", "video", "memballoon", "rng"):
        for element in devices.iterfind(tag):
            element.append(ET.fromstring(PCI))
    for element in devices.iterfind("channel"):
        ET.SubElement(element, "address", type="virtio-serial", controller="0", bus="0", port="1")
    for element in devices.iterfind("serial/target"):
        ET.SubElement(element, "model", name="isa-serial")
    for element in devices.iterfind("graphics"):
        element.set("port", "-1")
    ET.SubElement(root, "currentMemory", unit="KiB").text = "524288"
    ET.SubElement(devices, "emulator").text = "/usr/bin/qemu-system-x86_64"
    devices.append(ET.fromstring(f"<controller type='virtio-serial' index='0'>{PCI}</controller>"))
    console = ET.SubElement(devices, "console", type="pty")
    ET.SubElement(console, "log", file=f"{FOLDER}/console.log", append="on")
    ET.SubElement(console, "target", type="serial", port="0")
    ET.SubElement(devices, "input", type="mouse", bus="ps2")
    return ET.tostring(root, encoding="unicode")


def cookie(more: str = "") -> str:
    return f"""<qemu-migration><name>instance-00000001</name><uuid>{SERVER}</uuid><hostname>vm</hostname>
<hostuuid>8c33e394-db74-46f1-b806-474ab44fc421</hostuuid><feature name='lockstate'/>{more}</qemu-migration>\0"""


COOKIE = cookie(
    """<nbd><disk target='vda' capacity='1073741824'/></nbd><cpu mode='custom' match='exact' check='full'>
<model fallback='forbid'>qemu64</model><topology sockets='2' dies='1' cores='1' threads='1'/>
<feature policy='require' name='hypervisor'/></cpu><capabilities><cap name='xbzrle' auto='no'/></capabilities>"""
)


def text(value: str) -> bytes:
    data = value.encode()
    return struct.pack(">I", len(data)) + data + bytes(-len(data) % 4)


def number(value: int) -> bytes:
    return struct.pack(">I", value)


def message(
    procedure: int, body: bytes = b"", program: int = REMOTE, version: int = 1, kind: int = 0, status: int = 0
) -> bytes:
    return struct.pack(">IIIiiIi", 28 + len(body), program, version, procedure, kind, 1, status) + body


def parameters(definition: str | None = None, name: str = "instance-00000001") -> list[tuple[str, str]]:
    return [
        ("destination_xml", told() if definition is None else definition),
        ("destination_name", name),
        ("migrate_uri", MEMORY),
        ("migrate_disks", "vda"),
        ("disks_uri", DISKS),
    ]


def brings(
    procedure: int, given: Parameters, said: str = COOKIE, flags: int = way.flags(True), cancelled: int = 0
) -> bytes:
    body = number(len(given)) + b"".join(text(name) + number(7) + text(value) for name, value in given)
    body += text(said) + number(flags)
    return message(procedure, body + (number(cancelled) if procedure == FINISH else b""))


def opens(name: str = "qemu:///system", flags: int = 0) -> bytes:
    return message(1, number(1) + text(name) + number(flags))


def calls(virt_type: str = "qemu", disks: tuple[str, ...] | None = ("vda",)) -> Calls:
    return Calls(Announced(SERVER, "instance-00000001", ours(virt_type), disks))


def refused(said: bytes) -> None:
    with pytest.raises(CommandFailed):
        calls().check(said)


def test_what_brings_the_guest_passes_however_it_is_cut() -> None:
    persistent = cookie(f"<feature name='persistent'/>{told()}<statistics><sent>17</sent></statistics>")
    said = b"".join(
        (
            message(66), message(60, number(14)), opens(), message(360), message(1, program=KEEPALIVE, kind=2),
            brings(PREPARE, parameters()), brings(FINISH, parameters(), persistent), message(361), message(2),
        )
    )  # fmt: skip
    assert calls().check(said) == said
    one = calls()
    assert b"".join(one.check(said[at : at + 7]) for at in range(0, len(said), 7)) == said


def test_without_disks() -> None:
    said = brings(PREPARE, parameters()[:3], flags=way.flags(False))
    assert calls(disks=None).check(said) == said
    refused(said)


def test_a_migration_that_failed_is_ended_without_a_cookie() -> None:
    said = brings(FINISH, parameters(), "", cancelled=1)
    assert calls().check(said) == said


def test_the_hosts_own_processor_is_spelled_out() -> None:
    model = ET.fromstring(told("kvm"))
    cpu = model.find("cpu")
    assert cpu is not None
    cpu.attrib = {"mode": "custom", "match": "exact", "check": "partial"}
    ET.SubElement(cpu, "model", fallback="forbid").text = "Skylake-Client-IBRS"
    ET.SubElement(cpu, "vendor").text = "Intel"
    ET.SubElement(cpu, "feature", policy="require", name="ss")
    said = brings(PREPARE, parameters(ET.tostring(model, encoding="unicode")))
    assert calls("kvm").check(said) == said


@pytest.mark.parametrize("procedure", [10, 9, 149, 305, 350])
def test_other_procedures_do_not(procedure: int) -> None:
    one = calls()
    assert one.check(message(66)) == message(66)
    with pytest.raises(CommandFailed):
        one.check(message(procedure)[:28])


@pytest.mark.parametrize(
    "said",
    [
        message(66, kind=4),
        message(66, kind=1),
        message(66, version=2),
        message(66, status=2),
        message(66, b"more"),
        message(60, b"12345678"),
        message(1, program=KEEPALIVE, kind=0),
        message(1, b"1234", program=KEEPALIVE, kind=2),
        message(3, program=KEEPALIVE, kind=2),
        opens("qemu+ext://x/system?command=/bin/sh"),
        opens("qemu:///session"),
        opens(flags=1),
        message(1, number(0) + number(0)),
        number(1024 * 1024 + 1) + message(66)[4:],
        number(27) + message(66)[4:],
        message(PREPARE, b"\0\0\0\1\0\0\0\xff"),
        message(PREPARE, brings(PREPARE, parameters())[28:] + number(0)),
        brings(PREPARE, parameters()).replace(b"destination_xml\0", b"destination_xmlZ"),
    ],
)
def test_other_forms_of_calls_do_not(said: bytes) -> None:
    refused(said)


def test_a_call_with_descriptors_does_not() -> None:
    body = brings(PREPARE, parameters())[28:]
    refused(message(PREPARE, number(0) + body, kind=4))


@pytest.mark.parametrize("procedure", [PREPARE, FINISH])
@pytest.mark.parametrize(
    "given",
    [
        parameters()[1:],
        parameters()[:1] + parameters()[2:],
        [one for one in parameters() if one[0] != "migrate_uri"],
        [one for one in parameters() if one[0] != "disks_uri"],
        [one for one in parameters() if one[0] != "migrate_disks"],
        parameters(name="instance-00000002"),
        [*parameters(), ("listen_address", "0.0.0.0")],
        [*parameters(), ("migrate_uri", "tcp:0.0.0.0")],
        [*parameters(), ("destination_xml", told())],
        [
            (name, f"tcp://0.0.0.0:4444/moves/{SERVER}/" if name == "migrate_uri" else value)
            for name, value in parameters()
        ],
        [
            (name, f"tcp://0.0.0.0:4445/moves/{SERVER}/" if name == "disks_uri" else value)
            for name, value in parameters()
        ],
    ],
)
def test_other_parameters_do_not(procedure: int, given: Parameters) -> None:
    refused(brings(procedure, given))


def test_other_flags_do_not() -> None:
    refused(brings(PREPARE, parameters(), flags=way.flags(True) | 1 << 12))
    refused(brings(PREPARE, parameters(), flags=way.flags(False)))


@pytest.mark.parametrize(
    "said",
    [
        "",
        "\0",
        cookie().rstrip("\0"),
        "<qemu-migration/>\0",
        cookie().replace("<name>instance-00000001</name>", ""),
        cookie().replace(f"<uuid>{SERVER}</uuid>", ""),
        cookie().replace("hostuuid", "other"),
        cookie().replace(SERVER, SERVER.replace("1", "9")),
        cookie("<nbd port='49153'/>"),
        cookie("<graphics type='spice' port='5900' listen='0.0.0.0'/>"),
        cookie("<network><interface index='0' vporttype='openvswitch'><portdata>x</portdata></interface></network>"),
        cookie(told()),
        cookie("<statistics>" + "".join(f"<a{n}>1</a{n}>" for n in range(100)) + "</statistics>"),
        cookie("<nbd><disk target='vda' capacity='1'/></nbd>" * 2),
    ],
)
def test_other_cookies_do_not(said: str) -> None:
    refused(brings(PREPARE, parameters(), said))


def among_devices(more: str) -> Callable[[str], str]:
    return lambda text: text.replace("</devices>", more + "</devices>")


def first_disk(text: str) -> str:
    return text[text.index("<disk ") : text.index("</disk>") + 7]


CHANGES: dict[str, Callable[[str], str]] = {
    "guest": lambda text: text.replace(SERVER, SERVER.replace("1", "9")),
    "name": lambda text: text.replace("instance-00000001", "instance-00000002"),
    "kind": lambda text: text.replace('<domain type="qemu"', '<domain type="kvm"'),
    "memory": lambda text: text.replace(">524288</memory>", ">209715200</memory>"),
    "unit": lambda text: text.replace('unit="KiB"', 'unit="GiB"'),
    "processors": lambda text: text.replace(">2</vcpu>", ">64</vcpu>"),
    "root": lambda text: text.replace("+7:+8", "+0:+0"),
    "second label": lambda text: text.replace("</domain>", "<seclabel type='none'/></domain>"),
    "no label": lambda text: text.replace(text[text.index("<seclabel") : text.index("</seclabel>") + 11], ""),
    "partition": lambda text: text.replace("/pileus<", "/<"),
    "no partition": lambda text: text.replace("<resource><partition>/pileus</partition></resource>", ""),
    "machine": lambda text: text.replace("pc-i440fx-7.2", "none"),
    "disk": lambda text: text.replace(f"{FOLDER}/disk", "/etc/shadow"),
    "relative disk": lambda text: text.replace(f"{FOLDER}/disk", "etc/shadow"),
    "path that goes up": lambda text: text.replace(f"{FOLDER}/disk", f"{FOLDER}/../x/disk"),
    "format": lambda text: text.replace('type="qcow2"', 'type="raw"'),
    "second disk": lambda text: text.replace("<disk ", first_disk(text) + "<disk "),
    "no disk": lambda text: text.replace(first_disk(text), ""),
    "console": lambda text: text.replace(f"{FOLDER}/console.log", "/etc/cron.d/x"),
    "emulator": lambda text: text.replace("/usr/bin/qemu-system-x86_64", "/bin/sh"),
    "block": lambda text: text.replace('type="file"', 'type="block"'),
    "tap": lambda text: text.replace("tap1", "tap2"),
    "port": lambda text: text.replace(PORT, SERVER),
    "bridge": lambda text: text.replace("br-int", "br-ex"),
    "address": lambda text: text.replace('slot="0x04"', 'slot="/dev/x"'),
    "screen": lambda text: text.replace("127.0.0.1", "0.0.0.0"),
    "screen's port": lambda text: text.replace('port="-1"', 'port="5999"'),
    "hostdev": among_devices("<hostdev mode='subsystem'/>"),
    "channel": among_devices("<channel type='file'><source path='/a'/><target type='virtio' name='a'/></channel>"),
    "channel's socket": lambda text: text.replace('"unix">', '"unix"><source path="/a"/>'),
    "tcp": among_devices("<channel type='tcp'><source mode='bind' host='0.0.0.0' service='5557'/></channel>"),
    "user's network": among_devices("<interface type='user'/>"),
    "server": among_devices("<interface type='server'><source address='0.0.0.0' port='5558'/></interface>"),
    "controller": among_devices("<controller type='scsi' index='0'/>"),
    "random": lambda text: text.replace("/dev/urandom", "/dev/vda"),
    "arguments": lambda text: text.replace("<devices>", "<qemu:commandline xmlns:qemu='u'/><devices>"),
    "stray text": lambda text: text.replace("<devices>", "x<devices>"),
    "entities": lambda text: "<!DOCTYPE d [<!ENTITY a 'b'>]>" + text,
    "encoding": lambda text: "<?xml version='1.0' encoding='UTF-7'?>" + text,
    "comment": lambda text: text.replace("<devices>", "<!-- --><devices>"),
    "blank before a text": lambda text: text.replace("+7:+8", " +7:+8"),
    "blank behind a text": lambda text: text.replace("/pileus<", "/pileus\n<"),
    "no blank of XML's": lambda text: text.replace("/pileus<", "/pileus\u00a0<"),
    "second emulator": among_devices("<emulator>/usr/bin/qemu-system-x86_64</emulator>"),
    "many mice": among_devices("<input type='mouse' bus='ps2'/>" * 5000),
    "many controllers": among_devices("<controller type='ide' index='1'/>" * 40),
    "broken": lambda text: text[:-3],
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_other_definitions_do_not(change: Callable[[str], str]) -> None:
    bad = change(told())
    assert bad != told()
    refused(brings(PREPARE, parameters(bad)))
    refused(brings(FINISH, parameters(bad), cookie()))
    refused(brings(FINISH, parameters(), cookie(bad)))


def test_a_very_deep_definition_does_not() -> None:
    refused(brings(PREPARE, parameters("<a>" * 90_000 + "</a>" * 90_000)))


def answer(procedure: int, body: bytes = b"", **header: int) -> bytes:
    return message(procedure, body, **{"kind": 1} | header)


def test_answers_of_the_destination() -> None:
    said = b"".join(
        (
            answer(66, number(1) + number(0)), answer(1), answer(60, number(1)), message(2, program=KEEPALIVE, kind=2),
            answer(PREPARE, text(COOKIE) + number(0)), answer(PREPARE, text(COOKIE) + number(1) + text(MEMORY)),
            answer(FINISH, text("n") + bytes(20) + text(COOKIE)), answer(FINISH, b"an error", status=1),
        )
    )  # fmt: skip
    assert Replies(SERVER).check(said) == said


@pytest.mark.parametrize(
    "said",
    [
        answer(PREPARE, text(COOKIE) + number(1) + text("tcp:10.0.0.1:5432")),
        answer(PREPARE, text(cookie("<nbd port='5432'/>")) + number(0)),
        answer(PREPARE, text(cookie("<graphics type='spice' port='1' listen='a'/>")) + number(0)),
        answer(PREPARE, text(COOKIE) + number(0) + number(0)),
        answer(FINISH, text("n") + bytes(8)),
        answer(66, number(2) + number(1) + number(0)),
        answer(66, number(1) + number(2)),
        answer(66, b"x" * 1000),
        answer(1, number(0)),
        answer(60, b"12345678"),
        answer(66, kind=0),
        answer(66, kind=2),
        answer(66, status=2),
        answer(10),
        number(1024 * 1024 + 1) + answer(66)[4:],
    ],
)
def test_other_answers_do_not(said: bytes) -> None:
    with pytest.raises(CommandFailed):
        Replies(SERVER).check(said)


PROCESSOR = """<cpu mode='custom' match='exact' check='full'>
<model fallback='forbid'>Skylake-Client-IBRS</model><vendor>Intel</vendor>
<topology sockets='2' dies='1' cores='1' threads='1'/>%s</cpu>"""


def test_a_processor_is_what_libvirt_writes() -> None:
    """It is compared by the libvirt of the destination before anything else of the guest is there."""
    allowed.check_processor(PROCESSOR % "".join(f"<feature policy='require' name='f{n}'/>" for n in range(400)))
    many = PROCESSOR % ("<feature policy='require' name='ss'/>" * 2000)
    declared = "<!DOCTYPE cpu [<!ENTITY x SYSTEM 'file:///etc/hostname'>]>" + PROCESSOR % ""
    for text in (many, declared, PROCESSOR % "<numa/>", "<domain/>", "<cpu>x</cpu>", "<cpu"):
        with pytest.raises((CommandFailed, ValueError)):
            allowed.check_processor(text)
