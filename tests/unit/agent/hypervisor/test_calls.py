"""A source's libvirt may say what brings its guest, and nothing else."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest

from pileus.agent.errors import CommandFailed
from pileus.agent.hypervisor.calls import Calls

SERVER = "11111111-2222-3333-4444-555555555555"
DISK = "/state/instances/s/disk"
DOMAIN = f"""<domain type='qemu'><name>n</name><uuid>{SERVER}</uuid><resource><partition>/p</partition></resource>
<devices><emulator>/usr/bin/qemu-system-x86_64</emulator><disk type='file' device='disk'><source file='{DISK}'/>
<serial>root</serial></disk><interface type='bridge'><source bridge='br-int'/><target dev='tap1'/></interface>
<rng model='virtio'><backend model='random'>/dev/urandom</backend></rng></devices></domain>"""
REMOTE, KEEPALIVE = 0x20008086, 0x6B656570


def text(value: str) -> bytes:
    data = value.encode()
    return struct.pack(">I", len(data)) + data + bytes(-len(data) % 4)


def call(procedure: int, body: bytes = b"", program: int = REMOTE) -> bytes:
    return struct.pack(">IIIiiIi", 28 + len(body), program, 1, procedure, 0, 1, 0) + body


def prepare(procedure: int = 303, cookie: str = "", **parameters: str | int) -> bytes:
    body = struct.pack(">I", len(parameters))
    for name, value in parameters.items():
        kind = 7 if isinstance(value, str) else 4
        body += text(name) + struct.pack(">I", kind)
        body += text(value) if isinstance(value, str) else struct.pack(">Q", value)
    return call(procedure, body + text(cookie) + struct.pack(">I", 0))


def calls() -> Calls:
    return Calls(SERVER, frozenset({DISK, "/p"}), frozenset({"br-int", "tap1"}))


def test_what_brings_the_guest_passes_however_it_is_cut() -> None:
    uris = {"migrate_uri": f"unix:/run/moves/{SERVER}/memory", "disks_uri": f"unix:///run/moves/{SERVER}/disks"}
    cookie = f"<qemu-migration><uuid>{SERVER}</uuid>{DOMAIN}</qemu-migration>\0"
    said = b"".join(
        (
            call(66), call(60, b"1234"), call(1, b"name"), call(1, program=KEEPALIVE),
            prepare(destination_xml=DOMAIN, migrate_disks="vda", bandwidth=7, **uris),
            prepare(306, cookie, destination_xml=DOMAIN, persistent_xml=DOMAIN, destination_name="n"), call(2),
        )
    )  # fmt: skip
    assert calls().check(said) == said
    one = calls()
    assert b"".join(one.check(said[at : at + 7]) for at in range(0, len(said), 7)) == said


@pytest.mark.parametrize("procedure", [10, 9, 149, 305, 350])
def test_other_procedures_do_not(procedure: int) -> None:
    one = calls()
    assert one.check(call(66)) == call(66)
    with pytest.raises(CommandFailed):
        one.check(call(procedure)[:28])


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace(SERVER, SERVER.replace("1", "9")),
        lambda text: text.replace(DISK, "/etc/shadow"),
        lambda text: text.replace("/usr/bin/qemu-system-x86_64", "/bin/sh"),
        lambda text: text.replace("type='file'", "type='block'"),
        lambda text: text.replace("tap1", "tap2"),
        lambda text: text.replace("<devices>", "<devices><hostdev mode='subsystem'/>"),
        lambda text: text.replace("<devices>", "<qemu:commandline xmlns:qemu='u'/><devices>"),
        lambda text: "<!DOCTYPE d [<!ENTITY a 'b'>]>" + text,
        lambda text: text[:-3],
    ],
    ids=["guest", "disk", "emulator", "block", "tap", "device", "arguments", "entities", "broken"],
)
@pytest.mark.parametrize("where", ["parameter", "persistent", "cookie"])
def test_other_definitions_do_not(change: Callable[[str], str], where: str) -> None:
    bad = change(DOMAIN)
    said = {
        "parameter": lambda: prepare(destination_xml=bad),
        "persistent": lambda: prepare(306, persistent_xml=bad),
        "cookie": lambda: prepare(306, f"<qemu-migration>{bad}</qemu-migration>"),
    }[where]()
    with pytest.raises(CommandFailed):
        calls().check(said)


def test_other_parameters_and_ways_do_not() -> None:
    for said in (
        prepare(listen_address="0.0.0.0"),
        prepare(migrate_uri="tcp:10.0.0.1:49152"),
        prepare(disks_uri="unix:///run/moves/other/disks"),
        struct.pack(">I", 1 << 30) + call(66)[4:],
        call(303, b"\0\0\0\1\0\0\0\xff"),
    ):
        with pytest.raises(CommandFailed):
            calls().check(said)
