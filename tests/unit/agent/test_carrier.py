"""What is carried between two hosts arrives whole, both ways, and nobody gets in by another's socket."""

from __future__ import annotations

import os
import socket
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from pileus.agent import carrier
from pileus.agent.errors import CommandFailed

MUCH = os.urandom(3_000_000)
ME = os.getuid()


def read(end: socket.socket, count: int) -> bytes:
    found = b""
    while len(found) < count and (piece := end.recv(count - len(found))):
        found += piece
    return found


def test_what_is_said_arrives_both_ways() -> None:
    one, ours = socket.socketpair()
    other, theirs = socket.socketpair()
    thread = threading.Thread(target=carrier.carry, args=(ours, theirs))
    thread.start()
    with one, other, ours, theirs:
        writers = [threading.Thread(target=end.sendall, args=(MUCH,)) for end in (one, other)]
        readers = [threading.Thread(target=lambda end=end: found.append(read(end, len(MUCH)))) for end in (one, other)]
        found: list[bytes] = []
        for each in (*writers, *readers):
            each.start()
        for each in (*writers, *readers):
            each.join()
        assert found == [MUCH, MUCH]
        one.close()
        thread.join()


def test_what_is_not_allowed_goes_no_further() -> None:
    def check(said: bytes) -> bytes:
        raise CommandFailed("refused", "no")

    one, ours = socket.socketpair()
    other, theirs = socket.socketpair()
    with one, other, ours, theirs:
        other.sendall(b"rm -rf")
        with pytest.raises(CommandFailed):
            carrier.carry(ours, theirs, check)
        ours.close()
        assert one.recv(9) == b""


def test_ways_lead_to_the_other_host_while_they_are_open(tmp_path: Path) -> None:
    there: dict[str, socket.socket] = {}
    joined = threading.Semaphore(0)

    def join(way: str) -> socket.socket:
        if way == carrier.CONTROL:
            raise CommandFailed("peer", "the guest is not awaited")
        theirs, ours = socket.socketpair()
        there[way] = theirs
        joined.release()
        return ours

    folder = tmp_path / "moves" / "x"
    with carrier.ways(folder, ME, join):
        modes = {path.name: path.stat().st_mode & 0o777 for path in (folder.parent, folder, *folder.iterdir())}
        assert modes == {"moves": 0o711, "x": 0o711} | dict.fromkeys(carrier.WAYS, 0o600)
        here = carrier.connect(folder / carrier.MEMORY, ME)
        assert joined.acquire(timeout=60)
        here.sendall(b"memory")
        assert read(there[carrier.MEMORY], 6) == b"memory"
        with carrier.connect(folder / carrier.CONTROL, 0) as refused:
            assert refused.recv(1) == b""
    assert here.recv(1) == b"" and not folder.exists()
    for end in (here, *there.values()):
        end.close()


def test_a_socket_is_reached_that_is_the_users_own(tmp_path: Path) -> None:
    real, link, file = tmp_path / "real", tmp_path / "link", tmp_path / "file"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(real))
        server.listen()
        carrier.connect(real, ME).close()
        link.symlink_to(real)
        file.touch()
        for path, user in ((link, ME), (file, ME), (real, ME + 1), (tmp_path / "none", ME)):
            with pytest.raises(OSError):
                carrier.connect(path, user)
    with suppress(OSError):
        real.unlink()
