"""What libvirt and QEMU of one host say to those of another, carried between their agents; no port is opened for it."""

from __future__ import annotations

import os
import select
import shutil
import socket
import ssl
import stat
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from pileus.agent.errors import CommandFailed
from pileus.sockets import hang_up

CONTROL, MEMORY, DISKS = "control", "memory", "disks"
"""What is carried: libvirt's calls, the guest's memory, its disks; also what the sockets of each are called."""
WAYS = (CONTROL, MEMORY, DISKS)
MOST = {CONTROL: 2, MEMORY: 2, DISKS: 8}
"""Connections of one guest at a time; libvirt and QEMU need one, one, and one for each disk."""
_PIECE = 256 * 1024
_LOOK_S = 5.0
_LATER = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
Check = Callable[[bytes], bytes]
"""What of the bytes that came may go on; raises CommandFailed."""


def carry(one: socket.socket, other: socket.socket, check: Check = bytes) -> None:
    """Until either end says nothing more.

    Args:
        check: of what goes from the second to the first.

    Raises:
        OSError: one of them broke. CommandFailed: what is said is not allowed.
    """
    for end in (one, other):
        end.setblocking(False)
    ways = ((one, other, bytes), (other, one, check))
    waiting = {one: b"", other: b""}
    """What is still to be sent to each."""
    while True:
        moved = False
        for source, target, checked in ways:
            if not waiting[target]:
                said = _receive(source)
                if said == b"":
                    return
                waiting[target] = checked(said or b"")
                moved = moved or said is not None
            if waiting[target]:
                sent = _send(target, waiting[target])
                waiting[target] = waiting[target][sent:]
                moved = moved or sent > 0
        if not moved:
            reads = [source for source, target, _ in ways if not waiting[target]]
            _wait(reads, [end for end in waiting if waiting[end]])


def _wait(reads: list[socket.socket], writes: list[socket.socket]) -> None:
    """Until something can be done; of descriptors of any number, unlike select()."""
    events = Counter[int]()
    for ends, event in ((reads, select.POLLIN), (writes, select.POLLOUT)):
        for end in ends:
            events[end.fileno()] |= event
    waiting = select.poll()
    for number, wanted in events.items():
        waiting.register(number, wanted)
    waiting.poll(_LOOK_S * 1000)


def _receive(end: socket.socket) -> bytes | None:
    try:
        return end.recv(_PIECE)
    except _LATER:
        return None


def _send(end: socket.socket, data: bytes) -> int:
    try:
        return end.send(data)
    except _LATER:
        return 0


class _Connections:
    """Those that are there for a guest which leaves. Thread-safe."""

    def __init__(self) -> None:
        self._lock, self._open, self._ended = threading.Lock(), set[socket.socket](), False

    @contextmanager
    def kept(self, connection: socket.socket) -> Iterator[socket.socket]:
        """While it is there; it is closed afterwards."""
        with connection:
            with self._lock:
                self._open.add(connection)
                if self._ended:
                    hang_up(connection)
            try:
                yield connection
            finally:
                with self._lock:
                    self._open.remove(connection)

    def end(self) -> None:
        """Hang all of them up, and those that are still to come. Idempotent."""
        with self._lock:
            self._ended = True
            for one in self._open:
                hang_up(one)


@contextmanager
def ways(
    folder: Path, user: int, join: Callable[[str], socket.socket], answers: Callable[[], Check]
) -> Iterator[Callable[[], None]]:
    """While there are sockets in a folder of this machine by which another host is reached.

    Args:
        folder: made for it. user: who may use all but the one of libvirt, which is root's.
        join: connects to the other host; raises CommandFailed.
        answers: makes what checks those of the other's libvirt on one connection.

    Returns:
        What ends all that is carried: whoever waits for the other host finds it gone.
    """
    connections = _Connections()

    def serve(way: str, listening: socket.socket) -> None:
        free = threading.Semaphore(MOST[way])
        while True:
            try:
                here, _ = listening.accept()
            except OSError:
                return  # it is over
            if free.acquire(blocking=False):
                threading.Thread(target=through, args=(way, here, free), daemon=True, name="carrier").start()
            else:
                here.close()

    def through(way: str, here: socket.socket, free: threading.Semaphore) -> None:
        try:
            with suppress(OSError, CommandFailed), connections.kept(here), connections.kept(join(way)) as there:
                carry(here, there, answers() if way == CONTROL else bytes)
        finally:
            free.release()

    with ExitStack() as stack:
        make_folder(folder, 0o711, os.geteuid())  # its user passes
        stack.callback(remove_folder, folder)
        users = {way: 0 if way == CONTROL else user for way in WAYS}
        listening = {way: stack.enter_context(connections.kept(_listen(folder, way, users[way]))) for way in WAYS}
        stack.callback(connections.end)
        for way in WAYS:
            threading.Thread(target=serve, args=(way, listening[way]), daemon=True, name="carriers").start()
        yield connections.end


def _listen(folder: Path, way: str, user: int) -> socket.socket:
    """In a folder of ours that nobody else writes to."""
    found = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    within = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    try:
        found.bind(f"/proc/self/fd/{within}/{way}")  # paths of sockets are short
        os.chmod(folder / way, 0o600)
        os.chown(folder / way, user, -1, follow_symlinks=False)
        found.listen()
    except OSError:
        found.close()
        raise
    finally:
        os.close(within)
    return found


def make_folder(folder: Path, mode: int, user: int) -> None:
    """Make a folder anew, a user's, in one that others may pass through."""
    folder.parent.mkdir(exist_ok=True)
    folder.parent.chmod(0o711)
    remove_folder(folder)
    folder.mkdir(mode=0o700)
    os.chown(folder, user, -1, follow_symlinks=False)
    folder.chmod(mode)


def remove_folder(folder: Path) -> None:
    """Idempotent. First it is taken back from its user, who would otherwise put something in meanwhile."""
    with suppress(FileNotFoundError):
        os.chown(folder, os.geteuid(), -1, follow_symlinks=False)
        shutil.rmtree(folder)


def connect(path: Path, user: int) -> socket.socket:
    """Connect to a user's own socket, whatever he may have put in its place.

    Raises:
        OSError: there is none, or it is another's.
    """
    known = os.open(path, os.O_PATH | os.O_NOFOLLOW)
    found = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        what = os.fstat(known)
        if not stat.S_ISSOCK(what.st_mode) or what.st_uid != user:
            raise FileNotFoundError(f"{path.name} is no socket of user {user}")
        found.connect(f"/proc/self/fd/{known}")
    except OSError:
        found.close()
        raise
    finally:
        os.close(known)
    return found
