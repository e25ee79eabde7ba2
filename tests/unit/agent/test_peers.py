"""Disks of guests that move between two agents: whole, sparse, gone on with, and for nobody else."""

from __future__ import annotations

import errno
import http.client
import io
import os
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pileus.agent import peers as module
from pileus.agent.commands.freight import MOST_EXTENTS, PIECE, Extents
from pileus.agent.errors import CommandFailed
from pileus.agent.timeline import Timeline
from tests.members import Cloud
from tests.unit.agent.peering import HEAD, SERVER, TAIL, Source, cloud, fetch, peers, source

__all__ = ["cloud", "fetch", "source"]


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


def test_a_piece_that_is_cut_off_is_gone_on_with(
    source: Source, fetch: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "AGAIN_S", 0.05)
    real, left = module._asked, [1, 1]

    def asked(connection: http.client.HTTPConnection, path: str, query: dict[str, str]) -> bytes:
        said = real(connection, path, query)
        if not left:
            return said
        left.pop()
        connection.close()
        return said[: len(said) // 2]

    monkeypatch.setattr(module, "_asked", asked)
    assert fetch().read_bytes() == source.disk.read_bytes() and not left


@pytest.mark.parametrize(
    ("head", "drop"),
    [
        (b"", b"HTTP/1.1 100 Continue\r\nX: y\r\n\r\n"),
        (b"HTTP/1.1 200 OK\r\n", b"X"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 4000000\r\n\r\n", b"x"),
        (b"HTTP/1.1 409 Conflict\r\nContent-Length: 4000000\r\n\r\n", b"x"),
    ],
)
def test_a_peer_that_drips_is_hung_up_on(monkeypatch: pytest.MonkeyPatch, head: bytes, drop: bytes) -> None:
    """The source of a live migration would wait for ever for a destination that was taken over."""
    monkeypatch.setattr(module, "WHOLE_S", 0.2)
    here, there = socket.socketpair()
    here.settimeout(60)
    connection, said = http.client.HTTPConnection("agent"), list[bytes | Exception]()
    connection.sock = here

    def drip() -> None:
        with suppress(OSError):
            there.sendall(head)
            while True:
                there.sendall(drop)
                time.sleep(0.01)

    def ask() -> None:
        try:
            said.append(module._ask(connection, "/gone", {"server_id": SERVER}))
        except (OSError, http.client.HTTPException, msgspec.DecodeError) as error:
            said.append(error)

    threads = [threading.Thread(target=one, daemon=True) for one in (drip, ask)]
    for one in threads:
        one.start()
    threads[1].join(60)
    assert said and (isinstance(said[0], Exception) or len(said[0]) < 4_000_000)
    there.close()
    connection.close()


def test_a_peer_that_ends_its_connection_is_asked_on_no_other(tmp_path: Path, cloud: Cloud, source: Source) -> None:
    connection = peers(tmp_path, cloud)._connection(source.peer)
    connection.close()
    with pytest.raises(http.client.NotConnected):
        module._ask(connection, "/gone", {"server_id": SERVER})


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
        mine.fetch(source.peer, SERVER, "disk", into, lambda done, total: None, Timeline())
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
        peers(tmp_path, cloud, "third").tell_gone(source.peer, SERVER)
