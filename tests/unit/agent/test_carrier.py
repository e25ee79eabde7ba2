"""What is carried between two hosts arrives whole, both ways, and nobody gets in by another's socket."""

from __future__ import annotations

import fcntl
import os
import resource
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from pileus.agent import carrier
from pileus.agent.errors import CommandFailed
from tests.support import eventually

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
    with carrier.ways(folder, ME, join, lambda: bytes):
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


def test_a_guest_has_a_few_connections(tmp_path: Path) -> None:
    """Its QEMU may be taken over: each costs threads and descriptors here, and a place at the other host's door."""
    there: list[socket.socket] = []

    def join(way: str) -> socket.socket:
        theirs, ours = socket.socketpair()
        there.append(theirs)
        theirs.sendall(b"greeting")
        return ours

    def come() -> socket.socket:
        return carrier.connect(tmp_path / "x" / carrier.DISKS, ME)

    most = carrier.MOST[carrier.DISKS]
    with carrier.ways(tmp_path / "x", ME, join, lambda: bytes):
        here = [come() for _ in range(most)]
        assert all(read(one, 8) == b"greeting" for one in here)
        for _ in range(3):
            with come() as refused:
                assert refused.recv(1) == b""
        with carrier.connect(tmp_path / "x" / carrier.MEMORY, ME) as other:
            assert read(other, 8) == b"greeting", "each way has its own"
        here.pop().close()

        def one_more() -> bool:
            here.append(come())
            return here[-1].recv(1) == b"g"

        eventually(one_more, 60, "a place that is free again")
    for end in (*here, *there):
        end.close()


def test_what_is_carried_is_ended_at_once(tmp_path: Path) -> None:
    """Also what is still on its way to a host that does not answer; libvirt here finds the other gone."""
    there: list[socket.socket] = []
    asked, answered = threading.Event(), threading.Event()

    def join(way: str) -> socket.socket:
        theirs, ours = socket.socketpair()
        there.append(theirs)
        if way == carrier.DISKS:
            asked.set()
            assert answered.wait(60)
        else:
            theirs.sendall(b"greeting")
        return ours

    with (
        carrier.ways(tmp_path / "x", ME, join, lambda: bytes) as end,
        carrier.connect(tmp_path / "x" / carrier.MEMORY, ME) as memory,
        carrier.connect(tmp_path / "x" / carrier.DISKS, ME) as disks,
    ):
        assert read(memory, 8) == b"greeting" and asked.wait(60)
        end()
        assert memory.recv(1) == b"" and disks.recv(1) == b""
        answered.set()
        assert [one.recv(1) for one in there] == [b"", b""]
    for one in there:
        one.close()


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(before[0], 2048), before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.usefixtures("many_descriptors")
def test_descriptors_of_any_number() -> None:
    """select() takes none from 1024 on."""
    one, low = socket.socketpair()
    other, theirs = socket.socketpair()
    try:
        ours = socket.socket(fileno=fcntl.fcntl(low, fcntl.F_DUPFD, 1500))
    finally:
        low.close()
    thread = threading.Thread(target=carrier.carry, args=(ours, theirs))
    thread.start()
    with one, other, ours, theirs:
        for _ in range(3):
            other.sendall(b"x")
            assert read(one, 1) == b"x"  # it waited between
        one.close()
        thread.join()


def test_answers_are_checked(tmp_path: Path) -> None:
    """Of the other host's libvirt; not what its QEMU says."""
    ends: dict[str, socket.socket] = {}

    def join(way: str) -> socket.socket:
        ends[way], ours = socket.socketpair()
        ends[way].sendall(b"answer")
        return ours

    def check(said: bytes) -> bytes:
        if said:
            raise CommandFailed("refused", "no")
        return said

    with carrier.ways(tmp_path / "x", ME, join, lambda: check):
        with carrier.connect(tmp_path / "x" / carrier.CONTROL, 0) as here:
            assert here.recv(1) == b""
        with carrier.connect(tmp_path / "x" / carrier.MEMORY, ME) as here:
            assert read(here, 6) == b"answer"
    for end in ends.values():
        end.close()


def test_a_folder_is_made_anew(tmp_path: Path) -> None:
    """What its user left in it, or still might put there, is nothing that root meets."""
    folder, other = tmp_path / "moves" / "x", tmp_path / "other"
    other.write_text("kept")
    carrier.make_folder(folder, 0o700, ME)
    for way in carrier.WAYS:
        (folder / way).symlink_to(other)
    before = other.stat()
    open_still = os.open(folder, os.O_DIRECTORY)
    with carrier.ways(folder, ME, lambda way: socket.socket(), lambda: bytes):
        assert not any((folder / way).is_symlink() for way in carrier.WAYS)
        with pytest.raises(FileNotFoundError):
            os.symlink(other, carrier.MEMORY, dir_fd=open_still)
    os.close(open_still)
    assert not folder.exists() and (other.read_text(), other.stat().st_mode) == ("kept", before.st_mode)
    folder.symlink_to(tmp_path)
    with pytest.raises(OSError):
        carrier.make_folder(folder, 0o700, ME)


@pytest.mark.skipif(ME != 0, reason="gives folders to users")
def test_a_folder_that_was_a_users_is_ours_again(tmp_path: Path) -> None:
    folder = tmp_path / "moves" / "x"
    carrier.make_folder(folder, 0o700, 65534)
    assert folder.stat().st_uid == 65534
    with carrier.ways(folder, 65534, lambda way: socket.socket(), lambda: bytes):
        assert folder.stat().st_uid == 0
        assert [(folder / way).stat().st_uid for way in carrier.WAYS] == [0, 65534, 65534]


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
