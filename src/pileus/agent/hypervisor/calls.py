"""What a guest's source may say to the libvirt of its destination: to make this guest, as it was announced.

See libvirt's src/rpc/virnetprotocol.x and src/remote/remote_protocol.x for the form of calls (XDR, RFC 4506).
"""

from __future__ import annotations

import re
import struct
import xml.etree.ElementTree as ET
from collections.abc import Iterator

from pileus.agent.errors import CommandFailed

_REMOTE, _KEEPALIVE = 0x20008086, 0x6B656570
_PREPARE, _FINISH = 303, 306
_CALLS = frozenset({1, 2, 60, 66, 360, 361, _PREPARE, _FINISH})
"""Open, close, supports feature, authentication list, close callbacks, and the two that bring a guest."""
_HEADER = struct.Struct(">IIIiiIi")
_LONGEST = 32 * 1024 * 1024
_PARAMETERS = frozenset(
    {"destination_xml", "persistent_xml", "destination_name", "migrate_uri", "disks_uri", "migrate_disks", "bandwidth"}
)
_SIZES = {1: 4, 2: 4, 3: 8, 4: 8, 5: 8, 6: 4}
"""Of typed parameters' values, bytes; texts (7) say their own."""
_TEXT = 7
_TAGS = frozenset(
    re.findall(
        r"\S+",
        """domain name uuid memory currentMemory vcpu resource partition sysinfo system entry chassis os type smbios
        boot features acpi apic cpu model vendor feature topology cache maxphysaddr clock timer on_poweroff on_reboot
        on_crash pm suspend-to-mem suspend-to-disk devices emulator disk driver source target serial readonly alias
        address controller log console protocol channel input graphics listen image video memballoon stats rng backend
        interface mac mtu virtualport parameters host guest link seclabel label imagelabel audio acceleration""",
    )
)
"""Elements that guests of ours are defined by."""
_HARMLESS = re.compile(r"/dev/(urandom|pts/[0-9]+)|/var/lib/libvirt/qemu/channel/[\w./-]*|/usr/bin/qemu-system-x86_64")
_OF_PORTS = ("bridge", "dev", "interfaceid", "network", "path")


class Calls:
    """The calls of one connection, in pieces as they come.

    Args:
        server_id: the guest's. names: what may be named in its definition that begins with a slash.
        ports: values of its interfaces' attributes.
    """

    def __init__(self, server_id: str, names: frozenset[str], ports: frozenset[str]) -> None:
        self._server_id, self._names, self._ports = server_id, names, ports
        self._rest = b""

    def check(self, said: bytes) -> bytes:
        """The calls that are whole now; raises CommandFailed: one is not allowed."""
        self._rest += said
        allowed = b""
        while len(self._rest) >= _HEADER.size:
            length, program, _, procedure, _, _, _ = _HEADER.unpack_from(self._rest)
            if not _HEADER.size <= length <= _LONGEST:
                raise _refused(f"a call of {length} bytes")
            if program != _KEEPALIVE and (program != _REMOTE or procedure not in _CALLS):
                raise _refused(f"procedure {procedure} of {program:#x}")
            if len(self._rest) < length:
                break
            call, self._rest = self._rest[:length], self._rest[length:]
            if program == _REMOTE and procedure in (_PREPARE, _FINISH):
                self._look(_Xdr(call[_HEADER.size :]))
            allowed += call
        return allowed

    def _look(self, call: _Xdr) -> None:
        try:
            for name, value in call.parameters():
                if name not in _PARAMETERS:
                    raise _refused(f"the parameter {name}")
                if name in ("destination_xml", "persistent_xml"):
                    self.look_at(_parsed(value))
                elif name.endswith("_uri") and f"/moves/{self._server_id}/" not in value:
                    raise _refused("another way")
            cookie = call.text().rstrip("\0")
            for domain in _parsed(cookie).iter("domain") if cookie else ():
                self.look_at(domain)
        except (ET.ParseError, ValueError, struct.error) as error:
            raise _refused(str(error)) from error

    def look_at(self, domain: ET.Element) -> None:
        """Raises CommandFailed: a definition is of another guest, or names what is not this guest's."""
        if domain.findtext("uuid") != self._server_id:
            raise _refused("another guest")
        for element in domain.iter():
            if element.tag not in _TAGS:
                raise _refused(f"an element {element.tag}")
            for value in (*element.attrib.values(), (element.text or "").strip()):
                if value.startswith("/") and value not in self._names and not _HARMLESS.fullmatch(value):
                    raise _refused("a name of another file")
        for element in domain.iterfind("devices/*"):
            if element.tag in ("disk", "serial", "console") and element.get("type") not in ("file", "pty"):
                raise _refused(f"a {element.tag} of another type")
        for element in domain.iterfind("devices/interface//"):
            for name in _OF_PORTS:
                if element.get(name, "") not in self._ports | {""}:
                    raise _refused("a port of another guest")


class _Xdr:
    """Reads what a call carries; raises ValueError, struct.error."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def number(self) -> int:
        (found,) = struct.unpack_from(">I", self._data, self._at)
        self._at += 4
        return int(found)

    def text(self) -> str:
        length = self.number()
        found = self._data[self._at : self._at + length]
        if len(found) < length:
            raise ValueError("a text is cut off")
        self._at += -(-length // 4) * 4
        return found.decode()

    def parameters(self) -> Iterator[tuple[str, str]]:
        """Names and values; those of numbers are empty."""
        for _ in range(self.number()):
            name, kind = self.text(), self.number()
            if kind == _TEXT:
                yield name, self.text()
            else:
                self._at += _SIZES[kind] if kind in _SIZES else len(self._data)
                yield name, ""


def _parsed(text: str) -> ET.Element:
    if "<!" in text:
        raise ValueError("a document with declarations")
    return ET.fromstring(text)  # noqa: S314 - it declares nothing


def _refused(what: str) -> CommandFailed:
    return CommandFailed("refused", f"the source's libvirt said what it may not: {what}")
