"""Image data between a replica and an agent on another machine: whole, resumed, and only what one may have."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from pileus.agent import freight as desk_module
from pileus.agent.commands import ImageSource
from pileus.agent.commands.freight import PIECE, Declined, Delivery, Freight, Offered, Wanted
from pileus.agent.errors import CommandFailed
from pileus.operations import wires
from pileus.operations.freight import Carrier
from tests.support import eventually
from tests.unit.operations.machine import Desk, Machine

pytestmark = pytest.mark.parametrize("machine", ["tls"], indirect=True)
DATA = os.urandom(PIECE) + bytes(PIECE) + os.urandom(12_345)


def image_of(data: bytes, id: str = "image-1") -> ImageSource:
    digest = hashlib.sha512(data).hexdigest()
    return ImageSource(id=id, location="file:///elsewhere", disk_format="raw", size_bytes=len(data), sha512=digest)


def read(machine: Machine, image: ImageSource) -> bytes:
    with machine.desk.opened(image) as source:
        return source.read()


@pytest.fixture
def stored(tmp_path: Path, machine: Machine) -> Path:
    path = tmp_path / "stored"
    path.write_bytes(DATA)
    machine.cloud.images["image-1"] = path
    return path


def test_an_image_is_brought_whole(machine: Machine, new_desk: Callable[..., Desk], stored: Path) -> None:
    machine.start()
    new_desk().start()
    assert read(machine, image_of(DATA)) == DATA


def test_what_one_replica_does_not_have_another_brings(machine: Machine, stored: Path) -> None:
    """The desk alone: who declined is not asked again, others are at once."""
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(read, machine, image_of(DATA))
        [wanted] = machine.desk.freight("r1", 10).wanted
        assert machine.desk.freight("r2", 0).wanted == (), "one is enough"
        machine.desk.decline("r1", Declined(image_id="image-1"))
        assert machine.desk.freight("r1", 0).wanted == ()
        for first in range(0, len(DATA), PIECE):
            [wanted] = machine.desk.freight("r2", 10).wanted
            assert wanted.first == first
            machine.desk.deliver(Delivery(image_id="image-1", first=first + 1, data=b"no"))
            machine.desk.deliver(Delivery(image_id="image-1", first=first, data=DATA[first : first + PIECE]))
        assert reading.result(20) == DATA


def test_an_image_that_no_replica_has_is_missing(
    machine: Machine, new_desk: Callable[..., Desk], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desk_module, "PATIENCE_S", 0.5)
    machine.start()
    new_desk().start()
    with pytest.raises(CommandFailed, match="no replica brings"):
        read(machine, image_of(DATA))


def test_bringing_goes_on_where_a_lost_replica_stopped(
    machine: Machine,
    new_desk: Callable[..., Desk],
    stored: Path,
) -> None:
    machine.start()
    first = new_desk().start()
    with ThreadPoolExecutor(1) as pool, machine.desk.opened(image_of(DATA)) as source:
        assert source.read(10) == DATA[:10]
        first.agents.stop()
        rest = pool.submit(source.read)
        eventually(lambda: machine.desk._wants, 60, "the next piece to be wanted")
        new_desk().start()
        assert rest.result(30) == DATA[10:]


@pytest.mark.parametrize("before", [b"", DATA[: PIECE + 7], os.urandom(len(DATA))], ids=["all", "the rest", "anew"])
def test_what_a_host_made_is_taken_whole(
    machine: Machine,
    new_desk: Callable[..., Desk],
    tmp_path: Path,
    before: bytes,
) -> None:
    made, part = tmp_path / "made", tmp_path / "image-2.arriving"
    made.write_bytes(DATA)
    if before:
        part.write_bytes(before)
    machine.cloud.images["image-2"] = part
    machine.start()
    new_desk().start()
    machine.desk.hand_over(made, "image-2", len(DATA), hashlib.sha512(DATA).hexdigest())
    assert (tmp_path / "image-2").read_bytes() == DATA and not part.exists()


def test_nobody_takes_what_nobody_asked_for(
    machine: Machine,
    new_desk: Callable[..., Desk],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(desk_module, "PATIENCE_S", 0.5)
    machine.start()
    new_desk().start()
    with pytest.raises(CommandFailed, match="no replica takes"):
        machine.desk.hand_over(tmp_path / "made", "image-3", 5, "0")
    with pytest.raises(CommandFailed, match="nothing of image"):
        machine.desk.piece("image-3", 0, 1)


@pytest.mark.parametrize("freight", ["wanted", "offered", "nothing"])
def test_an_agent_that_does_not_wait_is_not_asked_all_the_time(
    machine: Machine, freight: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wires, "IDLE_S", 3600.0)
    asked: list[str] = []
    said = {
        "wanted": Freight(wanted=(Wanted(image_id="image-9", first=0, length=1),)),
        "offered": Freight(offered=(Offered(image_id="image-9", size=5),)),
        "nothing": Freight(),
    }[freight]

    class Instant:
        async def exchange(self, method: str, path: str, body: bytes = b"") -> bytes:
            await asyncio.sleep(0)
            asked.append(path.partition("?")[0])
            return msgspec.json.encode(said)

    carrier = Carrier(Instant(), machine.cloud, lambda host: True, lambda: {"fake-1"})  # type: ignore[arg-type]
    with pytest.raises(TimeoutError):
        asyncio.run(asyncio.wait_for(carrier.carry(), 0.3))
    assert asked.count("/freight") == 1


@pytest.mark.parametrize("lie", ["none of it", "too much of it"])
def test_pieces_are_what_was_asked_for(
    machine: Machine,
    new_desk: Callable[..., Desk],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    lie: str,
) -> None:
    monkeypatch.setattr(desk_module, "PATIENCE_S", 0.5)
    given = b"" if lie == "none of it" else DATA
    monkeypatch.setattr(machine.desk, "piece", lambda image_id, first, length: given)
    refuse(machine, new_desk, tmp_path, given, len(DATA) - 1)


@pytest.mark.parametrize(("size", "cap", "reserve"), [(len(DATA), len(DATA) - 1, 0), (0, 1, 0), (5, 5, 1 << 62)])
def test_what_is_too_large_is_not_taken(
    machine: Machine,
    new_desk: Callable[..., Desk],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    size: int,
    cap: int,
    reserve: int,
) -> None:
    """It is over the cap, or nothing, or the disk would be full."""
    monkeypatch.setattr(desk_module, "PATIENCE_S", 0.5)
    machine.cloud.cap_bytes, machine.cloud.reserve_bytes = cap, reserve
    refuse(machine, new_desk, tmp_path, DATA[:size], size)


def refuse(machine: Machine, new_desk: Callable[..., Desk], tmp_path: Path, data: bytes, size: int) -> None:
    """The host's data are not taken, nothing of them stays, and the replica goes on talking with its agent."""
    made, part = tmp_path / "made", tmp_path / "image-2.arriving"
    made.write_bytes(data)
    machine.cloud.images["image-2"] = part
    machine.start()
    desk = new_desk().start()
    desk.ears.reports.get(timeout=60)
    with pytest.raises(CommandFailed, match="no replica takes"):
        machine.desk.hand_over(made, "image-2", size, hashlib.sha512(data).hexdigest())
    eventually(lambda: not part.exists(), 60, "what was taken to be gone")
    assert not (tmp_path / "image-2").exists()
    desk.send("1")
    assert desk.ears.next_answer().key == "1" and desk.ears.reports.empty(), "no connection broke"
