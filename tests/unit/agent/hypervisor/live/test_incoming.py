"""Guests that are awaited: who is let in to what, and how often."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from pileus.agent import carrier
from pileus.agent.commands import Peer
from pileus.agent.errors import CommandFailed
from pileus.agent.hypervisor.live.filter import Announced
from pileus.agent.hypervisor.live.incoming import Incoming, IncomingGuest
from tests.unit.agent.specs import SERVER

GUEST = Announced(SERVER, "n", "<domain/>", None)


class Room:
    """A host's guests on the way, a libvirtd that listens, and what its agent carries."""

    def __init__(self, state: Path) -> None:
        self.libvirt = socket.socket(socket.AF_UNIX)
        self.libvirt.bind(str(state / "s"))
        self.libvirt.listen()
        self.incoming = Incoming(state / "m", state / "s")
        self.ends: list[socket.socket] = []
        self.threads: list[threading.Thread] = []

    def carry(self, way: str = carrier.CONTROL, source: str = "src", server_id: str = SERVER, key: str = "") -> str:
        """Until it has begun; or the code with which it failed."""
        ours, theirs = socket.socketpair()
        self.ends.append(ours)
        over, found = threading.Event(), ["begun"]

        def work() -> None:
            with theirs, suppress(OSError):
                try:
                    self.incoming.carry(server_id, source, way, theirs, over.set, key)
                except CommandFailed as error:
                    found[0] = error.code
            over.set()

        self.threads.append(threading.Thread(target=work))
        self.threads[-1].start()
        assert over.wait(60)
        return found[0]

    def close(self) -> None:
        self.incoming.close(SERVER)
        for thread in self.threads:
            thread.join(60)
        for one in (*self.ends, self.libvirt):
            one.close()


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    found = Room(tmp_path)
    try:
        yield found
    finally:
        found.close()


def test_who_is_let_in(room: Room) -> None:
    assert room.carry() == "no-such-guest"
    room.incoming.open(IncomingGuest(Peer("src"), None, GUEST))
    assert room.carry(source="other") == "no-such-guest"
    assert room.carry(way="../s") == "invalid"
    assert room.carry() == "begun"
    room.incoming.close(SERVER)
    assert room.carry() == "no-such-guest"


def test_a_machine_that_had_the_sources_name_before_is_not_let_in(room: Room) -> None:
    room.incoming.open(IncomingGuest(Peer("src", keys=("now", "next")), None, GUEST))
    assert [room.carry(key=key) for key in ("former", "")] == ["no-such-guest"] * 2
    with pytest.raises(CommandFailed):
        room.incoming.from_source(SERVER, "src", "former")
    assert [room.carry(key=key) for key in ("now", "next")] == ["begun"] * 2


def test_connections_are_counted_while_they_are_there(room: Room) -> None:
    room.incoming.open(IncomingGuest(Peer("src"), None, GUEST))
    assert [room.carry() for _ in range(3)] == ["begun", "begun", "busy"]
    room.ends[0].close()
    room.threads[0].join(60)
    assert [room.carry(), room.carry()] == ["begun", "busy"]


def test_what_is_not_allowed_ends_the_connection(room: Room) -> None:
    room.incoming.open(IncomingGuest(Peer("src"), None, GUEST))
    assert room.carry() == "begun"
    room.ends[0].sendall(b"rm -rf".ljust(28))
    with suppress(ConnectionError):
        assert room.ends[0].recv(1) == b""
    room.threads[0].join(60)
