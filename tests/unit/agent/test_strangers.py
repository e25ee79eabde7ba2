"""What an agent does for other hosts' agents, and for whom: known by name and key, and no further than is meant."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from pileus import certificates
from pileus.agent import doors
from pileus.agent import peers as module
from pileus.agent.errors import CommandFailed
from pileus.agent.peers import TlsPeers
from pileus.agent.server import MAX_BODY_BYTES
from pileus.agent.timeline import Timeline
from tests.members import Cloud
from tests.support import eventually
from tests.unit.agent.peering import CLOUD, SERVER, Source, cloud, fetch, key_of, peers, source

__all__ = ["cloud", "fetch", "source"]


def test_nobody_else_gets_it(source: Source, fetch: Callable[..., Path]) -> None:
    for who in ("other", "source"):
        with pytest.raises(CommandFailed, match="set aside for you"):
            fetch(name=who)
    with pytest.raises(CommandFailed, match="set aside for you"):
        fetch(file="../papers/papers.json")


def test_who_answers_must_be_the_host_that_is_meant(
    source: Source, fetch: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(CommandFailed, match="who answers for host another is another") as failed:
        fetch(of="another")
    assert source.asked == [] and "source" not in failed.value.message and CLOUD not in failed.value.message
    assert "'source'" in caplog.text, "it is for the operator to read"


def test_another_host_may_ask_for_nothing_but_disks(source: Source, cloud: Cloud, tmp_path: Path) -> None:
    connection = peers(tmp_path, cloud)._connection(source.peer)
    for path in ("/report", "/freight?wait=0", "/feed?after=0&wait=0"):
        connection.request("GET", path)
        response = connection.getresponse()
        response.read()
        assert response.status == 404, path
    connection.close()


@pytest.mark.parametrize("path", ["/commands", "/stop", "/nothing"])
def test_what_another_host_tells_is_not_read(source: Source, cloud: Cloud, tmp_path: Path, path: str) -> None:
    connection = peers(tmp_path, cloud)._connection(source.peer)
    connection.putrequest("POST", path)
    connection.putheader("Content-Length", str(MAX_BODY_BYTES))
    connection.endheaders()  # and no body
    response = connection.getresponse()
    assert response.status == 404 and b"not-found" in response.read()
    assert connection.sock.recv(1) == b""
    connection.close()


def test_another_host_has_so_many_connections(
    source: Source, cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each costs a thread and descriptors. Those of one host are not taken from another's."""
    monkeypatch.setattr(doors, "OF_AN_AGENT", 3)
    many, other = peers(tmp_path, cloud, "many"), peers(tmp_path, cloud, "other")

    def come(mine: TlsPeers) -> http.client.HTTPConnection:
        connection = mine._connection(source.peer)
        connections.append(connection)
        connection.request("GET", "/nothing")
        response = connection.getresponse()
        response.read()
        assert response.status == 404
        return connection

    def comes() -> bool:
        try:
            come(many)
        except (OSError, http.client.HTTPException):
            return False
        return True

    connections: list[http.client.HTTPConnection] = []
    first = [come(many) for _ in range(3)]
    assert not comes() and not comes()
    come(other)
    first[0].close()
    eventually(comes, 60, "a place that is free again")
    for connection in connections:
        connection.close()


def test_a_stranger_is_not_let_in(
    source: Source, fetch: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(module, "AGAIN_S", 0.05)
    monkeypatch.setattr(module, "PATIENCE_S", 0.3)
    stranger = Cloud(CLOUD).enrol(tmp_path / "stranger", "dest")
    papers = stranger.papers()
    assert papers is not None and source.agent.papers.papers() is not None
    trusting = replace(papers, authority=source.agent.papers.papers().authority)  # type: ignore[union-attr]
    monkeypatch.setattr(stranger, "papers", lambda: trusting)
    with pytest.raises(CommandFailed, match="does not hand"):
        fetch(papers=stranger)
    assert source.asked == []


class Carrying:
    """A host that awaits a guest of host `dest`, and says back what it is told."""

    def __init__(self, source: Source) -> None:
        source.agent.hypervisor.carry = self.carry  # type: ignore[method-assign]
        source.agent.hypervisor.gone = self.gone  # type: ignore[method-assign]
        self.told: list[tuple[str, str, str]] = []
        self.keys: list[str] = []

    def carry(
        self, source: str, server_id: str, way: str, there: socket.socket, begin: Callable[[], None], key: str = ""
    ) -> None:
        self.told.append((source, server_id, way))
        self.keys.append(key)
        if source != "dest":
            raise CommandFailed("no-such-guest", "no such guest is awaited from you")
        begin()
        there.sendall(b"greeting;")
        there.sendall(there.recv(100))

    def gone(self, source: str, server_id: str, key: str = "") -> None:
        self.told.append((source, server_id, "gone"))
        self.keys.append(key)


def test_a_connection_becomes_the_guests(source: Source, tmp_path: Path, cloud: Cloud) -> None:
    carrying, mine = Carrying(source), peers(tmp_path, cloud)
    with mine.join(source.peer, SERVER, "memory") as joined:
        assert joined.recv(9) == b"greeting;", "what the other end says first is not lost"
        joined.sendall(b"memory")
        assert joined.recv(9) == b"memory" and joined.recv(9) == b""
    mine.tell_gone(source.peer, SERVER)
    assert carrying.told == [("dest", SERVER, "memory"), ("dest", SERVER, "gone")]


def test_who_is_not_there_is_not_joined(source: Source, tmp_path: Path, cloud: Cloud) -> None:
    """What is said becomes why a migration failed."""
    source.close()
    with pytest.raises(CommandFailed, match="host source cannot be reached: see that its agent runs") as failed:
        peers(tmp_path, cloud).join(source.peer, SERVER, "memory")
    assert failed.value.code == "peer"
    source.open()


def test_nobody_elses_connection_does(source: Source, tmp_path: Path, cloud: Cloud) -> None:
    Carrying(source)
    with pytest.raises(CommandFailed, match="does not await"):
        peers(tmp_path, cloud, "other").join(source.peer, SERVER, "memory")
    with pytest.raises(CommandFailed, match="who answers for host elsewhere"):
        peers(tmp_path, cloud, "third").join(source.peer._replace(host="elsewhere"), SERVER, "memory")


def test_who_asks_is_known_by_its_key(source: Source, tmp_path: Path, cloud: Cloud) -> None:
    """A machine that was forgotten still has a certificate of the name that another has now."""
    carrying, keys = Carrying(source), []
    for life in ("forgotten", "now"):
        (tmp_path / life).mkdir()
        mine = peers(tmp_path / life, cloud)
        keys.append(key_of(mine))
        mine.fetch(source.peer, SERVER, "disk", tmp_path / life / "disk", lambda *_: None, Timeline())
        mine.join(source.peer, SERVER, "memory").close()
        mine.tell_gone(source.peer, SERVER)
    assert keys[0] != keys[1] and list(dict.fromkeys(source.keys)) == keys
    assert carrying.keys == [key for key in keys for _ in range(2)]


def test_who_answers_must_have_a_key_that_the_host_is_known_by(source: Source, tmp_path: Path, cloud: Cloud) -> None:
    mine, other = peers(tmp_path, cloud), peers(tmp_path, cloud, "another")
    of_source = source.agent.papers.papers()
    assert of_source is not None
    former, now = key_of(other), certificates.public_of(of_source.key).decode()
    Carrying(source)
    mine.tell_gone(source.peer._replace(keys=(former, now)), SERVER)
    into, known = tmp_path / "disk.part", source.peer._replace(keys=(former,))
    with pytest.raises(CommandFailed, match="had its name before"):
        mine.fetch(known, SERVER, "disk", into, lambda *_: None, Timeline())
    with pytest.raises(CommandFailed, match="had its name before"):
        mine.join(known, SERVER, "memory")
    with pytest.raises(CommandFailed, match="had its name before"):
        mine.tell_gone(known, SERVER)
    assert source.asked == []
