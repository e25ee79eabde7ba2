"""What the libvirts of two hosts may say to each other: to bring one guest, as it was announced.

See libvirt's src/rpc/virnetprotocol.x and src/remote/remote_protocol.x for the form of calls (XDR, RFC 4506).
"""

from __future__ import annotations

import struct
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass

from pileus.agent.hypervisor.live import allowed, definition
from pileus.agent.hypervisor.live.allowed import refused

_REMOTE, _KEEPALIVE = 0x20008086, 0x6B656570
_AUTHENTICATIONS, _OPEN, _CLOSE, _SUPPORTS, _TELL_CLOSED, _TELL_NO_MORE = 66, 1, 2, 60, 360, 361
_PREPARE, _FINISH = 303, 306
_PROCEDURES = frozenset({_AUTHENTICATIONS, _OPEN, _CLOSE, _SUPPORTS, _TELL_CLOSED, _TELL_NO_MORE, _PREPARE, _FINISH})
_CALL, _REPLY, _MESSAGE = 0, 1, 2
_DONE, _FAILED = 0, 1
_HEADER = struct.Struct(">IIIiiIi")
_LONGEST = 1024 * 1024
_NO_AUTHENTICATION = 0
_TEXT = 7
"""Of typed parameters, the type that we have."""
_OURS = "qemu:///system"


@dataclass(frozen=True)
class Announced:
    """A guest that is allowed.

    `name` is what it is called here, `definition` what this host would define (domain.xml), `disks` the targets of what
    is copied, None: nothing is.
    """

    server_id: str
    name: str
    definition: str
    disks: tuple[str, ...] | None


class _Messages:
    """What is said on one connection, in pieces as it comes."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def check(self, said: bytes) -> bytes:
        """The messages that are whole now; raises CommandFailed: one is not allowed."""
        self._rest += said
        allowed = b""
        while len(self._rest) >= _HEADER.size:
            length, program, version, procedure, kind, _, status = _HEADER.unpack_from(self._rest)
            if not _HEADER.size <= length <= _LONGEST:
                raise refused(f"a message of {length} bytes")
            if program == _KEEPALIVE:
                if (length, version, kind, status) != (_HEADER.size, 1, _MESSAGE, _DONE) or procedure not in (1, 2):
                    raise refused("what keeps nothing alive")
            elif program != _REMOTE or version != 1 or procedure not in _PROCEDURES:
                raise refused(f"procedure {procedure} of {program:#x}")
            else:
                self._begun(kind, status)
            if len(self._rest) < length:
                break
            message = bytes(self._rest[:length])
            del self._rest[:length]
            if program == _REMOTE:
                body = _Xdr(message[_HEADER.size :])
                try:
                    self._look(procedure, status, body)
                    body.end()
                except (ValueError, struct.error) as error:
                    raise refused(str(error)) from error
            allowed += message
        return allowed

    def _begun(self, kind: int, status: int) -> None:
        """Raises CommandFailed: it is no message of this direction."""
        raise NotImplementedError

    def _look(self, procedure: int, status: int, body: _Xdr) -> None:
        """Read the whole of it; raises CommandFailed, ValueError, struct.error."""
        raise NotImplementedError


class Calls(_Messages):
    """What the source of a guest may ask of the libvirt of its destination."""

    def __init__(self, guest: Announced) -> None:
        super().__init__()
        self._guest = guest
        self._definition = allowed.expected(guest.definition)
        memory, disks = definition.uris(guest.server_id)
        self._wanted = [("destination_name", guest.name), ("migrate_uri", memory)]
        if guest.disks is not None:
            self._wanted += [("disks_uri", disks), *(("migrate_disks", target) for target in guest.disks)]

    def _begun(self, kind: int, status: int) -> None:
        if (kind, status) != (_CALL, _DONE):
            raise refused(f"a message of type {kind}")

    def _look(self, procedure: int, status: int, body: _Xdr) -> None:
        if procedure == _OPEN:
            if (body.maybe_text(), body.number()) != (_OURS, 0):
                raise refused("a connection to something else")
        elif procedure == _SUPPORTS:
            body.number()
        elif procedure in (_PREPARE, _FINISH):
            self._brings(body, procedure)

    def _brings(self, body: _Xdr, procedure: int) -> None:
        said = list(body.parameters())
        definitions = [value for name, value in said if name == "destination_xml"]
        if sorted(one for one in said if one[0] != "destination_xml") != sorted(self._wanted) or len(definitions) != 1:
            raise refused("other parameters than ours")
        allowed.check(self._definition, allowed.parsed(definitions[0]))
        cookie = body.data()
        if body.number() != definition.flags(self._guest.disks is not None):
            raise refused("other flags than ours")
        cancelled = procedure == _FINISH and body.number() != 0
        if cookie or not cancelled:
            _check_cookie(cookie, self._guest.server_id, self._definition if procedure == _FINISH else None)


class Replies(_Messages):
    """What the libvirt of a guest's destination may answer that of its source."""

    def __init__(self, server_id: str) -> None:
        super().__init__()
        self._server_id = server_id

    def _begun(self, kind: int, status: int) -> None:
        if kind != _REPLY or status not in (_DONE, _FAILED):
            raise refused(f"a message of type {kind}")

    def _look(self, procedure: int, status: int, body: _Xdr) -> None:
        if status == _DONE and procedure == _PREPARE:
            _check_cookie(body.data(), self._server_id, None)
            if body.maybe_text() not in ("", definition.uris(self._server_id)[0]):
                raise refused("another way")
        elif status == _DONE and procedure == _FINISH:
            body.text()
            body.skip(20)  # uuid, id
            _check_cookie(body.data(), self._server_id, None)
        elif status == _DONE and procedure == _AUTHENTICATIONS:
            if (body.number(), body.number()) != (1, _NO_AUTHENTICATION):
                raise refused("another way to show who one is than none")
        elif status == _DONE and procedure == _SUPPORTS:
            body.number()
        elif status == _FAILED:
            body.rest()  # an error's texts


def _check_cookie(data: bytes, server_id: str, wanted: ET.Element | None) -> None:
    """Raises CommandFailed, ValueError: it is not about this guest, or says more than numbers and names about it."""
    if not data.endswith(b"\0"):
        raise refused("an empty cookie, or one without an end")
    found = allowed.parsed(data[:-1].decode())
    if wanted is not None and (domain := found.find("domain")) is not None:
        allowed.check(wanted, domain)
        found.remove(domain)
    allowed.check(allowed.cookie(server_id), found)


class _Xdr:
    """Reads what a message carries; raises ValueError, struct.error."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def number(self) -> int:
        (found,) = struct.unpack_from(">I", self._data, self._at)
        self._at += 4
        return int(found)

    def data(self) -> bytes:
        length = self.number()
        found = self._data[self._at : self._at + length]
        self.skip(length)
        padding = self._data[self._at : self._at + -length % 4]
        if any(padding):
            raise ValueError("a padding that says something")
        self.skip(-length % 4)
        return found

    def text(self) -> str:
        return self.data().decode()

    def maybe_text(self) -> str:
        """ "" if there is none."""
        there = self.number()
        if there > 1:
            raise ValueError("neither a text nor none")
        return self.text() if there else ""

    def parameters(self) -> Iterator[tuple[str, str]]:
        """Names and values, which are texts."""
        for _ in range(self.number()):
            name, kind = self.text(), self.number()
            if kind != _TEXT:
                raise ValueError(f"the parameter {name[:40]!r} is no text")
            yield name, self.text()

    def skip(self, count: int) -> None:
        self._at += count
        if self._at > len(self._data):
            raise ValueError("a message is cut off")

    def rest(self) -> None:
        self._at = len(self._data)

    def end(self) -> None:
        if self._at != len(self._data):
            raise ValueError("a message that goes on")
