"""Guests that move, between two agents: mutual TLS. Of their disks holes stay holes, and a lost connection is gone on
with; what libvirt and QEMU say to each other of one that runs is carried.

An agent hands out what it has of a guest to the one host that this goes to, and nothing else to anybody.
"""

from __future__ import annotations

import http.client
import io
import logging
import os
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import msgspec

from pileus import certificates, clock
from pileus.agent.commands.base import Peer
from pileus.agent.commands.freight import MOST_EXTENTS, PIECE, Extents
from pileus.agent.errors import CommandFailed
from pileus.agent.freight import PATIENCE_S
from pileus.agent.hypervisor.peers import Told
from pileus.agent.papers import PapersFolder
from pileus.agent.storage.disks import blamed
from pileus.agent.timeline import Timeline
from pileus.certificates import AGENT, Identity, is_of, key_shown
from pileus.files import open_regular, require_room
from pileus.logs import printable
from pileus.sockets import ended_after

log = logging.getLogger(__name__)
MOST_ANSWER = max(PIECE, 48 * MOST_EXTENTS)
"""Bytes of an answer: an extent has at most 42 digits and signs. Read, it takes several times as much at worst."""
MOST_HEAD = 1024
MOST_REFUSED, REFUSED_CHARS = 64 * 1024, 300
"""Of a refusal: bytes that are read, and characters that are told on."""
ANSWER_S, AGAIN_S = 30.0, 0.5
"""For anything of an answer; before a lost connection is made again."""
WHOLE_S = 300.0
"""For all of one answer, also where a link is slow: a peer could have this host wait for ever by a byte at a time."""
_ADVICE = "see that its agent runs, and that this host gets through to it; the agent's log here says more"


# --- what is handed out -----------------------------------------------------------------------------------------------


def extents(path: Path) -> Extents:
    """Where a file has data (lseek(2), SEEK_DATA), in bytes; raises CommandFailed: "storage", it cannot be read.

    A guest may make as many holes as it likes: those that are so small that there could be too many count as data.
    """
    with blamed("disk", "read"), os.fdopen(open_regular(path), "rb") as file:
        size = os.fstat(file.fileno()).st_size
        return Extents(size=size, data=tuple(_joined(_data(file, size), size // (MOST_EXTENTS - 1))))


def _joined(data: Iterator[tuple[int, int]], least: int) -> Iterator[tuple[int, int]]:
    """Some of a file's data, without the holes of at most so many bytes between."""
    first, length = next(data, (0, 0))
    end = first + length
    for start, length in data:
        if start - end > least:
            yield first, end - first
            first = start
        end = start + length
    if end > first:
        yield first, end - first


def _data(file: io.BufferedReader, size: int) -> Iterator[tuple[int, int]]:
    at = 0
    while at < size:
        try:
            start = os.lseek(file.fileno(), at, os.SEEK_DATA)
        except OSError:
            return  # there is none behind
        at = os.lseek(file.fileno(), start, os.SEEK_HOLE)
        yield start, at - start


def extent(path: Path, first: int, length: int) -> bytes:
    """Some of a file; raises as `extents`."""
    with blamed("disk", "read"), os.fdopen(open_regular(path), "rb") as file:
        file.seek(first)
        return file.read(min(length, PIECE))


# --- what is fetched --------------------------------------------------------------------------------------------------


class _Refused(msgspec.Struct):
    """What a peer says instead of an answer."""

    message: str


class TlsPeers:
    """The agents of other hosts (hypervisor.peers.Peers).

    Args:
        papers: what this agent shows them. cloud: file with the id of the cloud that both belong to.
        reserve_bytes: what is left free on this host's disk whatever they have.
    """

    def __init__(self, papers: PapersFolder, cloud: Path, reserve_bytes: int = 0) -> None:
        self._papers, self._cloud, self._reserve_bytes = papers, cloud, reserve_bytes

    def fetch(self, peer: Peer, server_id: str, file: str, into: Path, progress: Told, timeline: Timeline) -> None:
        """Copy a file of what another host has set aside of a guest; see hypervisor.peers.Peers."""
        heard, had = clock.monotonic(), 0

        def told(done: int, total: int) -> None:
            nonlocal heard, had
            if done > had:
                heard, had = clock.monotonic(), done
            progress(done, total)

        while True:
            try:
                self._copy(peer, {"server_id": server_id, "file": file}, into, told)
                return
            except (OSError, http.client.HTTPException, msgspec.DecodeError) as error:
                log.warning("the copy from host %s is interrupted: %s", peer.host, error)
                if clock.monotonic() - heard > PATIENCE_S:
                    raise CommandFailed("peer", f"host {peer.host} does not hand the disk over: {_ADVICE}") from error
            if timeline.abandoned:
                raise CommandFailed("abandoned", "the disk is not copied: the guest was taken back")
            time.sleep(AGAIN_S)

    def _copy(self, peer: Peer, query: dict[str, str], into: Path, told: Told) -> None:
        connection = self._connection(peer)
        try:
            found = msgspec.json.decode(_ask(connection, "/extents", query), type=Extents)
            with _opened(into) as file:
                # Data are written in their order: what is there is what was fetched.
                have = os.fstat(file.fileno()).st_size
                missing = _missing(found, have)
                told(have, found.size)  # who waits may find it too large, whatever of it is data
                for start, length in found.data:
                    at, end = max(start, have), start + length
                    while at < end:
                        with blamed("disk", "written"):  # others may be fetched into the same room
                            require_room(file, missing + self._reserve_bytes)
                        asked = {"first": str(at), "length": str(min(PIECE, end - at))}
                        piece = _ask(connection, "/extent", query | asked)
                        if not 0 < len(piece) <= end - at:
                            raise http.client.HTTPException("a piece has another length than was asked for")
                        with blamed("disk", "written"):
                            file.seek(at)
                            written = file.write(piece)  # a disk that fills up takes a part
                        at, missing = at + written, missing - written
                        told(at, found.size)
                with blamed("disk", "written"):
                    file.truncate(found.size)
                    os.fsync(file.fileno())
        finally:
            connection.close()

    def join(self, peer: Peer, server_id: str, way: str) -> socket.socket:
        """A connection to what another host has prepared of a guest; see hypervisor.peers.Peers."""
        try:
            return self._joined(self._shown(peer), peer.host, server_id, way)
        except OSError as error:
            log.warning("host %s is not reached: %s", peer.host, error)
            raise CommandFailed("peer", f"host {peer.host} cannot be reached: {_ADVICE}") from error

    def _joined(self, shown: ssl.SSLSocket, host: str, server_id: str, way: str) -> socket.socket:
        try:
            query = urlencode({"server_id": server_id, "way": way})
            shown.sendall(f"GET /carry?{query} HTTP/1.1\r\nHost: agent\r\n\r\n".encode())
            head = b""
            while not head.endswith(b"\r\n\r\n"):  # not a byte more: what follows is another's
                piece = shown.recv(1)
                if not piece or len(head) > MOST_HEAD:
                    raise ConnectionError("it does not carry on")
                head += piece
            if head.split()[1:2] != [b"101"]:
                raise CommandFailed("peer", f"host {host} does not await the guest")
        except BaseException:
            shown.close()
            raise
        return shown

    def tell_gone(self, peer: Peer, server_id: str) -> None:
        """Tell another host that a guest is its own; see hypervisor.peers.Peers."""
        connection = self._connection(peer)
        try:
            _ask(connection, "/gone", {"server_id": server_id})
        except (http.client.HTTPException, msgspec.DecodeError) as error:
            raise ConnectionError(str(error)) from error
        finally:
            connection.close()

    def _connection(self, peer: Peer) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection("agent", timeout=ANSWER_S)
        connection.sock = self._shown(peer)
        connection.auto_open = 0  # to nobody else, in the clear, if the peer ends this one
        return connection

    def _shown(self, peer: Peer) -> ssl.SSLSocket:
        papers = self._papers.papers()
        if papers is None:
            raise CommandFailed("peer", "this host has no certificate to show others")
        where, _, port = peer.address.rpartition(":")
        who = Identity(self._cloud.read_text().strip(), AGENT, peer.host)
        plain = socket.create_connection((where.strip("[]"), int(port)), ANSWER_S)
        try:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            shown = papers.context(ssl.Purpose.SERVER_AUTH).wrap_socket(plain)
        except OSError:
            plain.close()
            raise
        if (found := certificates.peer(shown.getpeercert())) != who:
            shown.close()
            log.warning("who answers for host %s is %s", peer.host, found)
            raise CommandFailed("peer", f"who answers for host {peer.host} is another: the agent's log here says who")
        if not is_of(key_shown(shown.getpeercert(True) or b"").decode(), peer.keys):
            shown.close()
            raise CommandFailed("peer", f"who answers for host {peer.host} is a machine that had its name before")
        return shown


def _missing(found: Extents, have: int) -> int:
    """How many bytes of a file's data are behind those that are there; raises HTTPException: they are out of order."""
    missing = behind = 0
    for start, length in found.data:
        if start < behind:
            raise http.client.HTTPException("a disk's data are not in their order")
        behind = start + length
        missing += max(0, behind - max(start, have))
    if behind > found.size:
        raise http.client.HTTPException("a disk's data are behind its end")
    return missing


def _opened(into: Path) -> io.FileIO:
    with blamed("disk", "written"):
        return os.fdopen(os.open(into, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600), "r+b", buffering=0)


def _ask(connection: http.client.HTTPConnection, path: str, query: dict[str, str]) -> bytes:
    """What a peer answers; who takes too long is hung up on, so that it may be the beginning of that."""
    with ended_after(WHOLE_S, connection.sock):
        return _asked(connection, path, query)


def _asked(connection: http.client.HTTPConnection, path: str, query: dict[str, str]) -> bytes:
    connection.request("GET", f"{path}?{urlencode(query)}")
    response = connection.getresponse()
    if response.status == 409:
        # Its code is not told on: of ours some mean something to the control plane.
        refused = msgspec.json.decode(response.read(MOST_REFUSED), type=_Refused)
        raise CommandFailed("peer", printable(refused.message, REFUSED_CHARS))
    if response.status != 200:
        raise http.client.HTTPException(f"HTTP {response.status}")
    body = response.read(MOST_ANSWER + 1)
    if len(body) > MOST_ANSWER:
        raise http.client.HTTPException("its answer is too long")
    return body
