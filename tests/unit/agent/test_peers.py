"""Disks of guests that move between two agents: whole, sparse, gone on with, and for nobody else."""

from __future__ import annotations

import errno
import http.client
import io
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from pileus import certificates
from pileus.agent import doors
from pileus.agent import peers as module
from pileus.agent.commands.freight import MOST_EXTENTS, PIECE, Extents
from pileus.agent.doors import open_tls
from pileus.agent.errors import CommandFailed
from pileus.agent.executor import Executor
from pileus.agent.freight import FreightDesk
from pileus.agent.hypervisor.fake import FakeHypervisor
from pileus.agent.journal import Journal
from pileus.agent.network.fake import FakeNetwork
from pileus.agent.peers import TlsPeers
from pileus.agent.server import MAX_BODY_BYTES, Agent
from pileus.agent.timeline import Timeline
from tests.members import Cloud
from tests.support import eventually, free_port

SERVER, CLOUD = "11111111-2222-3333-4444-555555555555", "cloud-1"
HEAD, TAIL = os.urandom(PIECE + 4096), os.urandom(8192)
HOLE = 64 * 1024 * 1024


class Source:
    """A host that has a disk set aside for host `dest`."""

    def __init__(self, folder: Path, cloud: Cloud) -> None:
        folder.mkdir()
        self.disk = folder / "disk"
        with self.disk.open("wb") as file:
            file.write(HEAD)
            file.seek(HOLE)
            file.write(TAIL)
            file.truncate(HOLE + len(TAIL) + 4096)
        journal = Journal(folder / "journal.db")
        hypervisor = FakeHypervisor(folder, FakeNetwork(), 1)
        hypervisor.handed_over = self._handed_over  # type: ignore[method-assign]
        (folder / "cloud").write_text(CLOUD)
        papers = cloud.enrol(folder / "papers", "source")
        parts: Any = (hypervisor, "fake", Executor(hypervisor, journal), journal, folder / "cloud", papers)
        self.agent = Agent("source", *parts, FreightDesk())
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.asked: list[tuple[str, str, str]] = []
        self.keys: list[str] = []
        self.open()

    def open(self) -> None:
        self.door = open_tls(self.agent, ("127.0.0.1", self.port))

    def close(self) -> None:
        self.door.shutdown()
        self.door.server_close()

    def _handed_over(self, to: str, server_id: str, file: str, key: str = "") -> Path:
        self.asked.append((to, server_id, file))
        self.keys.append(key)
        if (to, server_id, file) != ("dest", SERVER, "disk"):
            raise CommandFailed("no-such-guest", "nothing of that guest is set aside for you")
        return self.disk


@pytest.fixture
def cloud() -> Cloud:
    return Cloud(CLOUD)


@pytest.fixture
def source(tmp_path: Path, cloud: Cloud) -> Iterator[Source]:
    made = Source(tmp_path / "source", cloud)
    yield made
    made.close()


@pytest.fixture
def fetch(tmp_path: Path, cloud: Cloud, source: Source) -> Callable[..., Path]:
    """Fetches as a host; gives where."""

    def fetch(name: str = "dest", of: str = "source", file: str = "disk", papers: Any = None, told: Any = None) -> Path:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        (folder / "cloud").write_text(CLOUD)
        mine = papers or cloud.enrol(folder / "papers", name)
        into = folder / "disk.part"
        progress = told or (lambda done, total: None)
        TlsPeers(mine, folder / "cloud").fetch(of, source.address, SERVER, file, into, progress, Timeline())
        return into

    return fetch


def test_a_disk_is_copied_with_its_holes(source: Source, fetch: Callable[..., Path]) -> None:
    said: list[tuple[int, int]] = []
    into = fetch(told=lambda done, total: said.append((done, total)))
    assert into.read_bytes() == source.disk.read_bytes()
    assert into.stat().st_blocks * 512 < PIECE * 2 + len(TAIL) * 2, "holes take no room"
    size = source.disk.stat().st_size
    assert said[:2] == [(0, size), (PIECE, size)] and len(said) == 4


def test_what_is_there_is_not_fetched_again(source: Source, fetch: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "dest").mkdir()
    (tmp_path / "dest" / "disk.part").write_bytes(HEAD)
    said: list[tuple[int, int]] = []
    into = fetch(told=lambda done, total: said.append((done, total)))
    assert into.read_bytes() == source.disk.read_bytes() and len(said) == 2


def test_a_lost_connection_is_made_again(
    source: Source, fetch: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "AGAIN_S", 0.05)
    real, left = module._ask, [1, 1]

    def ask(connection: http.client.HTTPConnection, path: str, query: dict[str, str]) -> bytes:
        if path == "/extent" and left:
            left.pop()
            connection.sock.close()
            raise ConnectionResetError
        return real(connection, path, query)

    monkeypatch.setattr(module, "_ask", ask)
    assert fetch().read_bytes() == source.disk.read_bytes() and not left


def test_a_full_disk_is_told_at_once(
    source: Source, fetch: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It is no lost connection: nothing is asked for again."""
    monkeypatch.setattr(module, "_opened", lambda into: io.FileIO("/dev/full", "r+"))
    with pytest.raises(CommandFailed, match="could not be written") as raised:
        fetch()
    assert raised.value.code == "storage" and len(source.asked) == 2


def test_a_disk_that_there_is_no_room_for_is_not_begun(
    source: Source, tmp_path: Path, cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    into = tmp_path / "disk.part"
    free = os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize
    mine = peers(tmp_path, cloud, reserve_bytes=free)
    with pytest.raises(CommandFailed, match="could not be written"):
        mine.fetch("source", source.address, SERVER, "disk", into, lambda done, total: None, Timeline())
    assert into.stat().st_size == 0 and len(source.asked) == 1


def test_a_disk_of_very_many_holes_is_told_in_few_extents(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A guest makes them: its host keeps the large ones, and what is told it can be moved by."""
    monkeypatch.setattr(module, "MOST_EXTENTS", 10)
    (tmp_path / "disk").write_bytes(bytes(1000))
    data = [(at, 1) for at in range(5, 900, 50)] + [(980, 1), (982, 1)]
    monkeypatch.setattr(module, "_data", lambda file, size: iter(data))
    assert module.extents(tmp_path / "disk").data == ((5, 851), (980, 3))
    for holes in (1, 7, 99, 110, 111, 112, 400):
        data[:] = [(at, 1) for at in range(0, 1000, holes + 1)]
        told = module.extents(tmp_path / "disk").data
        assert len(told) <= 10 and told[0][0] == 0 and sum(told[-1]) == data[-1][0] + 1
        assert [length for _, length in told] == [1] * len(data) or len(told) == 1
    data.clear()
    assert module.extents(tmp_path / "disk").data == ()


@pytest.mark.parametrize(
    "said", [b"[0,1]," * MOST_EXTENTS + b"[0,1]", b"[0,0]", b"[0,1]" + b" " * module.MOST_ANSWER], ids=len
)
def test_extents_are_bounded(
    fetch: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, source: Source, said: bytes
) -> None:
    """A host that was taken over would fill this one's memory."""
    monkeypatch.setattr(module, "PATIENCE_S", -1.0)
    monkeypatch.setattr(module, "extents", lambda path: b'{"size":2,"data":[' + said + b"]}")
    with pytest.raises(CommandFailed, match="does not hand"):
        fetch(told=lambda done, total: pytest.fail("some was fetched"))


def test_room_that_others_take_meanwhile_is_missed_before_it_is_all(
    source: Source, fetch: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    needed: list[int] = []

    def require_room(file: Any, size: int) -> None:
        needed.append(size)
        if len(needed) == 3:
            raise OSError(errno.ENOSPC, "too little is left")

    monkeypatch.setattr(module, "require_room", require_room)
    with pytest.raises(CommandFailed, match="could not be written"):
        fetch()
    whole = len(HEAD) + len(TAIL)
    assert needed == [whole, whole - PIECE, len(TAIL)] and len(source.asked) == 3, "the last piece is not asked for"


@pytest.mark.parametrize("data", [((0, 9), (8, 2)), ((5, 1), (0, 1)), ((0, 11),), ((9, 2**61),)])
def test_data_that_are_out_of_order_are_not_written(
    fetch: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, data: tuple[tuple[int, int], ...]
) -> None:
    monkeypatch.setattr(module, "PATIENCE_S", -1.0)
    monkeypatch.setattr(module, "extents", lambda path: Extents(size=10, data=data))
    with pytest.raises(CommandFailed, match="does not hand"):
        fetch(told=lambda done, total: pytest.fail("some was fetched"))


def test_a_file_without_data_is_not_too_large_either(
    fetch: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def told(done: int, total: int) -> None:
        raise CommandFailed("storage", f"{total} bytes are too many")

    monkeypatch.setattr(module, "extents", lambda path: Extents(size=8 << 40, data=()))
    with pytest.raises(CommandFailed, match="are too many"):
        fetch(told=told)
    assert (tmp_path / "dest" / "disk.part").stat().st_size == 0


def test_what_a_disk_takes_in_parts_is_whole_in_the_end(
    source: Source, fetch: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Short(io.FileIO):
        def write(self, data: Any) -> int:
            return super().write(memoryview(data)[: PIECE // 3])

    monkeypatch.setattr(module, "_opened", lambda into: Short(os.open(into, os.O_RDWR | os.O_CREAT), "r+"))
    assert fetch().read_bytes() == source.disk.read_bytes()


def test_a_host_that_is_away_is_given_up(
    source: Source, fetch: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "AGAIN_S", 0.05)
    monkeypatch.setattr(module, "PATIENCE_S", 0.3)
    source.close()
    with pytest.raises(CommandFailed, match="host source does not hand the disk over: see that its agent runs"):
        fetch()
    source.open()


def test_nobody_else_gets_it(source: Source, fetch: Callable[..., Path]) -> None:
    for who in ("other", "source"):
        with pytest.raises(CommandFailed, match="set aside for you"):
            fetch(name=who)
    with pytest.raises(CommandFailed, match="set aside for you"):
        fetch(file="../papers/papers.json")


def refuse(source: Source, code: str, message: str) -> None:
    """Have a host that was taken over answer what no agent of ours would."""
    said = CommandFailed("", "")
    said.code, said.message = code, message

    def refused(*asked: str) -> Path:
        raise said

    source.agent.hypervisor.handed_over = refused  # type: ignore[method-assign]
    source.agent.hypervisor.gone = refused  # type: ignore[method-assign,assignment]


def test_a_refusal_is_short_and_has_no_code_of_ours(source: Source, fetch: Callable[..., Path]) -> None:
    """It becomes why a command of this host's failed."""
    refuse(source, "abandoned", "\0\x1b" + "M" * 2000)
    with pytest.raises(CommandFailed, match="MMM") as raised:
        fetch()
    assert raised.value.code == "peer"
    assert raised.value.message.isprintable() and len(raised.value.message) < 2 * module.REFUSED_CHARS


def test_little_is_read_of_a_refusal(
    source: Source, fetch: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cloud: Cloud
) -> None:
    monkeypatch.setattr(module, "PATIENCE_S", -1.0)
    refuse(source, "storage", "M" * module.MOST_REFUSED)
    with pytest.raises(CommandFailed, match="does not hand"):
        fetch()
    with pytest.raises(ConnectionError):
        peers(tmp_path, cloud, "third").tell_gone("source", source.address, SERVER)


def test_who_answers_must_be_the_host_that_is_meant(source: Source, fetch: Callable[..., Path]) -> None:
    with pytest.raises(CommandFailed, match="who answers"):
        fetch(of="another")
    assert source.asked == []


def test_another_host_may_ask_for_nothing_but_disks(source: Source, cloud: Cloud, tmp_path: Path) -> None:
    connection = peers(tmp_path, cloud)._connection("source", source.address)
    for path in ("/report", "/freight?wait=0", "/feed?after=0&wait=0"):
        connection.request("GET", path)
        response = connection.getresponse()
        response.read()
        assert response.status == 404, path
    connection.close()


@pytest.mark.parametrize("path", ["/commands", "/stop", "/nothing"])
def test_what_another_host_tells_is_not_read(source: Source, cloud: Cloud, tmp_path: Path, path: str) -> None:
    connection = peers(tmp_path, cloud)._connection("source", source.address)
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
        connection = mine._connection("source", source.address)
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


# --- guests that come as they run -----------------------------------------------------------------------------------


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


def peers(tmp_path: Path, cloud: Cloud, name: str = "dest", reserve_bytes: int = 0) -> TlsPeers:
    folder = tmp_path / name
    folder.mkdir()
    (folder / "cloud").write_text(CLOUD)
    return TlsPeers(cloud.enrol(folder / "papers", name), folder / "cloud", reserve_bytes)


def test_a_connection_becomes_the_guests(source: Source, tmp_path: Path, cloud: Cloud) -> None:
    carrying, mine = Carrying(source), peers(tmp_path, cloud)
    with mine.join("source", source.address, SERVER, "memory") as joined:
        assert joined.recv(9) == b"greeting;", "what the other end says first is not lost"
        joined.sendall(b"memory")
        assert joined.recv(9) == b"memory" and joined.recv(9) == b""
    mine.tell_gone("source", source.address, SERVER)
    assert carrying.told == [("dest", SERVER, "memory"), ("dest", SERVER, "gone")]


def test_who_is_not_there_is_not_joined(source: Source, tmp_path: Path, cloud: Cloud) -> None:
    """What is said becomes why a migration failed."""
    source.close()
    with pytest.raises(CommandFailed, match="host source cannot be reached: see that its agent runs") as failed:
        peers(tmp_path, cloud).join("source", source.address, SERVER, "memory")
    assert failed.value.code == "peer"
    source.open()


def test_nobody_elses_connection_does(source: Source, tmp_path: Path, cloud: Cloud) -> None:
    Carrying(source)
    with pytest.raises(CommandFailed, match="does not await"):
        peers(tmp_path, cloud, "other").join("source", source.address, SERVER, "memory")
    with pytest.raises(CommandFailed, match="who answers for host elsewhere"):
        peers(tmp_path, cloud, "third").join("elsewhere", source.address, SERVER, "memory")


def key_of(found: TlsPeers) -> str:
    papers = found._papers.papers()
    assert papers is not None
    return certificates.public_of(papers.key).decode()


def test_who_asks_is_known_by_its_key(source: Source, tmp_path: Path, cloud: Cloud) -> None:
    """A machine that was forgotten still has a certificate of the name that another has now."""
    carrying, keys = Carrying(source), []
    for life in ("forgotten", "now"):
        (tmp_path / life).mkdir()
        mine = peers(tmp_path / life, cloud)
        keys.append(key_of(mine))
        mine.fetch("source", source.address, SERVER, "disk", tmp_path / life / "disk", lambda *_: None, Timeline())
        mine.join("source", source.address, SERVER, "memory").close()
        mine.tell_gone("source", source.address, SERVER)
    assert keys[0] != keys[1] and list(dict.fromkeys(source.keys)) == keys
    assert carrying.keys == [key for key in keys for _ in range(2)]


def test_who_answers_must_have_a_key_that_the_host_is_known_by(source: Source, tmp_path: Path, cloud: Cloud) -> None:
    mine, other = peers(tmp_path, cloud), peers(tmp_path, cloud, "another")
    of_source = source.agent.papers.papers()
    assert of_source is not None
    former, now = key_of(other), certificates.public_of(of_source.key).decode()
    Carrying(source)
    mine.tell_gone("source", source.address, SERVER, (former, now))
    into, known = tmp_path / "disk.part", (former,)
    with pytest.raises(CommandFailed, match="had its name before"):
        mine.fetch("source", source.address, SERVER, "disk", into, lambda *_: None, Timeline(), known)
    with pytest.raises(CommandFailed, match="had its name before"):
        mine.join("source", source.address, SERVER, "memory", known)
    with pytest.raises(CommandFailed, match="had its name before"):
        mine.tell_gone("source", source.address, SERVER, known)
    assert source.asked == []
