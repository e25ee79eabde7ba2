"""A guest is made where files of an older one lie: on storage that hosts share, or on a host that lost its journal."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from pileus.agent.commands import (
    Answer,
    AwaitGuest,
    BuildGuest,
    Command,
    Departure,
    DiscardGuest,
    Envelope,
    GuestSpec,
    MovingDisk,
    Peer,
    PrepareGuest,
    ReceiveGuest,
    RestoreGuest,
    TakeOverGuest,
)
from pileus.agent.errors import CommandFailed
from pileus.agent.executor import Executor
from pileus.agent.journal import Journal
from pileus.agent.network.fake import FakeNetwork
from pileus.agent.storage import disks, moved
from pileus.agent.storage.file import GuestFiles
from pileus.agent.storage.promises import Holder
from pileus.agent.timeline import Timeline
from tests.unit.agent.specs import SERVER, guest, image_of

pytest.importorskip("libvirt")

from pileus.agent.hypervisor.libvirt import LibvirtHypervisor

BROUGHT = b"as the source has it"


class Elsewhere:
    """Other hosts' agents, which hand files over."""

    def fetch(self, peer: Peer, server_id: str, name: str, into: Path, *_: Any) -> None:
        if name == "disk":
            subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(into), "1G"], check=True)
        else:
            into.write_bytes(BROUGHT)


class House:
    """A host whose guests are defined by nobody, over a folder of guests that others may see, too."""

    def __init__(self, name: str, state: Path, shared: Path) -> None:
        self.name, self._keys = name, 0
        state.mkdir()
        (state / "instances").symlink_to(shared)
        self.hypervisor = LibvirtHypervisor(state, FakeNetwork(), name, peers=Elsewhere())  # type: ignore[arg-type]
        self.hypervisor._find = lambda server_id: None  # type: ignore[method-assign]
        self.hypervisor._launch = lambda *_: {"power_state": 1}  # type: ignore[method-assign]
        self.journal = Journal(state / "journal.db")
        self.executor = Executor(self.hypervisor, self.journal)

    def close(self) -> None:
        self.journal._connection.close()

    @property
    def files(self) -> GuestFiles:
        return self.hypervisor._files.guest(SERVER)

    def do(self, command: Command) -> Answer:
        """Carry a command out, in its turn with others."""
        self._keys += 1
        key = f"{self.name}{self._keys}:0"
        of = {"key": key, "operation_id": key, "attempt": 1, "host": self.name, "deadline_s": 60.0}
        return self.executor._answer(Envelope(**of, command=command), Timeline())  # type: ignore[arg-type]


@pytest.fixture
def houses(tmp_path: Path) -> Iterator[tuple[House, House]]:
    """Two hosts that see the same instances."""
    (tmp_path / "shared").mkdir()
    one, two = (House(name, tmp_path / name, tmp_path / "shared") for name in ("one", "two"))
    with closing(one), closing(two):
        yield one, two


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "image.raw"
    path.write_bytes(b"image".ljust(1 << 20, b"x"))
    return path


def spec(image: Path, incarnation: int) -> GuestSpec:
    return guest(
        incarnation=incarnation, image=image_of(image, "raw"), ports=(), ephemeral_gib=1, swap_mib=4, config_drive=True
    )


@contextmanager
def gone(files: GuestFiles) -> Iterator[None]:
    """All disks that are there are removed meanwhile, and others are in their place."""
    disks = (files.root, files.ephemeral, files.swap, files.config_drive, files.console)
    former = [os.open(path, os.O_RDONLY) for path in disks]
    try:
        yield
        assert [os.fstat(one).st_nlink for one in former] == [0] * len(former)
        assert all(path.exists() for path in disks)
    finally:
        for one in former:
            os.close(one)


def failed(answer: Answer) -> str:
    return answer.failure.code if answer.failure else ""


@pytest.mark.parametrize("where", ["another host", "this host"])
def test_a_build_begins_anew(houses: tuple[House, House], image: Path, where: str, tmp_path: Path) -> None:
    """An unshelve to where a host that is away has the former disk still, or to one that was installed anew."""
    one, two = houses
    with closing(House("two", tmp_path / "before", tmp_path / "shared")) as before:
        (one if where == "another host" else before).do(BuildGuest(guest=spec(image, 1)))
    with gone(two.files):
        assert not failed(two.do(BuildGuest(guest=spec(image, 3))))
    assert two.files.holder == Holder("two", 3)
    if where == "another host":  # it is back, and is told what it is owed
        assert not failed(one.do(DiscardGuest(server_id=SERVER, incarnation=1)))
    assert two.files.root.exists() and two.files.holder == Holder("two", 3)


def test_a_rebuild_of_what_was_not_taken_over_begins_anew(houses: tuple[House, House], image: Path) -> None:
    """The new host of an evacuated server failed before the disk was its own; the server is rebuilt there."""
    one, two = houses
    one.do(BuildGuest(guest=spec(image, 1)))
    assert two.do(PrepareGuest(guest=spec(image, 2))).result == {"shared": True}
    with gone(two.files):
        assert not failed(two.do(BuildGuest(guest=spec(image, 3))))
    one.do(DiscardGuest(server_id=SERVER, incarnation=1, to="two"))
    assert two.files.root.exists() and two.files.holder == Holder("two", 3)


def test_what_is_received_is_not_what_another_host_left(houses: tuple[House, House], image: Path) -> None:
    one, two = houses
    one.do(BuildGuest(guest=spec(image, 1)))
    files = ("disk", "disk.config")
    receive = ReceiveGuest(guest=spec(image, 4), source="three", address="a:1", set_aside=3, files=files, run=False)
    with gone(two.files):
        assert not failed(two.do(receive))
    assert two.files.config_drive.read_bytes() == BROUGHT and two.files.holder == Holder("two", 4)


def test_what_is_awaited_is_not_what_another_host_left(houses: tuple[House, House], image: Path) -> None:
    one, two = houses
    one.do(BuildGuest(guest=spec(image, 1)))
    three = (
        MovingDisk(name="disk", target="vda", format="qcow2", size=1 << 30),
        MovingDisk(name="disk.eph0", target="vdb", format="qcow2", size=1 << 30),
        MovingDisk(name="disk.swap", target="vdc", format="raw", size=4 << 20),
    )
    departure = Departure(power_state=1, disks=three)
    command = AwaitGuest(guest=spec(image, 4), source="three", address="a:1", departure=departure)
    with gone(two.files):
        two.hypervisor._await_files(command, Timeline())
    assert two.files.config_drive.read_bytes() == BROUGHT and two.files.holder == Holder("two", 4)


@pytest.fixture
def waiting(houses: tuple[House, House], monkeypatch: pytest.MonkeyPatch) -> tuple[House, House]:
    """The second can be told to await a guest, as far as files go."""
    for name in ("_undefine", "_check_processor"):
        monkeypatch.setattr(houses[1].hypervisor, name, lambda *_: None)
    return houses


def coming(image: Path, kind: type[AwaitGuest] | type[ReceiveGuest]) -> AwaitGuest | ReceiveGuest:
    """What has a guest come from the first host to the second."""
    if kind is AwaitGuest:
        return AwaitGuest(guest=spec(image, 4), source="one", address="a:1", departure=Departure(power_state=1))
    files = ("disk", "disk.config")
    return ReceiveGuest(guest=spec(image, 4), source="one", address="a:1", set_aside=3, files=files, run=False)


@pytest.mark.parametrize("kind", [AwaitGuest, ReceiveGuest])
def test_a_guest_that_stays_keeps_its_files(
    waiting: tuple[House, House], image: Path, kind: type[AwaitGuest] | type[ReceiveGuest]
) -> None:
    """The word that has it come is late: its host was told that it stays, and may be running it."""
    one, two = waiting
    one.do(BuildGuest(guest=spec(image, 1)))
    one.files.note_holder(3)
    made = {path: path.stat().st_ino for path in one.files.directory.iterdir()}
    assert failed(two.do(coming(image, kind))) == "stale"
    assert {path: path.stat().st_ino for path in one.files.directory.iterdir()} == made


def test_a_guest_that_comes_with_its_disk_finds_what_that_stands_on(
    waiting: tuple[House, House], image: Path, tmp_path: Path
) -> None:
    """It was made of another image than its server's, as one that was shelved is, and only its host has that."""
    one, two = waiting
    (tmp_path / "shelved.raw").write_bytes(b"shelved".ljust(1 << 20, b"y"))
    one.do(BuildGuest(guest=spec(tmp_path / "shelved.raw", 1)))
    one.files.note_holder(3, leaving="two")
    assert failed(two.do(coming(image, AwaitGuest))) == "image-missing"


def test_a_disk_that_another_destination_half_made_is_not_that_of_the_dead_host(
    houses: tuple[House, House], image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = houses
    with monkeypatch.context() as patched:
        patched.setattr(disks, "_make_ephemeral", refuses)
        assert failed(one.do(PrepareGuest(guest=spec(image, 2)))) == "storage"
    assert two.do(PrepareGuest(guest=spec(image, 2))).result == {"shared": False}
    assert two.files.swap.exists() and two.files.holder == Holder("two", 2)


def refuses(*_: object) -> None:
    raise CommandFailed("storage", "it fails half-way")


def test_a_disk_that_the_dead_host_had_set_aside_is_not_made_anew(houses: tuple[House, House], image: Path) -> None:
    """It would be lost when that host is back; it can be given back then."""
    one, two = houses
    one.do(BuildGuest(guest=spec(image, 1)))
    moved.note(one.files, 1, "three")
    moved.set_aside(one.files, one.hypervisor._files.aside(SERVER))
    assert failed(two.do(PrepareGuest(guest=spec(image, 4)))) == "storage"
    one.do(RestoreGuest(guest=spec(image, 3), set_aside=1, run=False))
    assert one.files.root.exists()


def test_what_could_not_be_discarded_is_not_built_on(
    houses: tuple[House, House], image: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Its host is owed that; meanwhile the server is built elsewhere, of what it was shelved as."""
    one, two = houses
    one.do(BuildGuest(guest=spec(image, 1)))
    inner = os.unlink

    def stuck(path: Any, *, dir_fd: int | None = None) -> None:
        if path == one.files.root.name:
            raise OSError("the storage is not well")
        inner(path, dir_fd=dir_fd)

    with monkeypatch.context() as patched:
        patched.setattr(os, "unlink", stuck)
        assert failed(one.do(DiscardGuest(server_id=SERVER, incarnation=1))) == "storage"
    made = one.files.root.stat().st_ino
    assert one.files.holder == Holder("one", 1)
    assert not failed(two.do(BuildGuest(guest=spec(image, 3))))
    assert two.files.root.stat().st_ino != made and two.files.holder == Holder("two", 3)


def test_a_build_that_is_sent_again_goes_on(houses: tuple[House, House], image: Path) -> None:
    _, two = houses
    two.do(BuildGuest(guest=spec(image, 3)))
    made = two.files.root.stat().st_ino
    two.do(BuildGuest(guest=spec(image, 3)))
    assert two.files.root.stat().st_ino == made


def test_a_late_build_leaves_a_newer_guest_of_another_host_alone(houses: tuple[House, House], image: Path) -> None:
    one, two = houses
    one.do(BuildGuest(guest=spec(image, 5)))
    made = one.files.root.stat().st_ino
    assert failed(two.do(BuildGuest(guest=spec(image, 3)))) == "stale"
    assert one.files.root.stat().st_ino == made and one.files.holder == Holder("one", 5)


def test_what_is_half_removed_is_not_built_on(
    houses: tuple[House, House], image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = houses
    one.do(BuildGuest(guest=spec(image, 1)))
    inner, removed = os.unlink, list[str]()

    def dies(path: Any, *, dir_fd: int | None = None) -> None:
        if dir_fd is not None:
            removed.append(str(path))
            if len(removed) == 3:
                raise OSError("the agent dies")
        inner(path, dir_fd=dir_fd)

    monkeypatch.setattr(os, "unlink", dies)
    assert failed(two.do(BuildGuest(guest=spec(image, 3)))) == "storage"
    assert two.files.holder == Holder("one", 1)
    left = {path: os.open(path, os.O_RDONLY) for path in two.files.directory.iterdir()}
    del left[two.files.holder_note]
    assert not failed(two.do(BuildGuest(guest=spec(image, 3))))
    assert left and not any(os.fstat(one).st_nlink for one in left.values())
    for one_left in left.values():
        os.close(one_left)


def test_no_link_is_followed(houses: tuple[House, House], image: Path, tmp_path: Path) -> None:
    """A host that was taken over has put one in the place of the guest's directory."""
    _, two = houses
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "key").write_text("PRIVATE KEY")
    (tmp_path / "secret" / "owner").write_text("one 1 ")
    two.files.directory.symlink_to(tmp_path / "secret")
    assert failed(two.do(BuildGuest(guest=spec(image, 3)))) == "storage"
    assert (tmp_path / "secret" / "key").exists()


def test_an_evacuated_guest_goes_on_with_its_disk(houses: tuple[House, House], image: Path) -> None:
    one, two = houses
    one.do(BuildGuest(guest=spec(image, 1)))
    made = one.files.root.stat().st_ino
    assert two.do(PrepareGuest(guest=spec(image, 2))).result == {"shared": True}
    assert two.do(TakeOverGuest(guest=spec(image, 2), run=True)).result == {"power_state": 1}
    assert two.files.root.stat().st_ino == made and two.files.holder == Holder("two", 2)


def test_it_goes_back_with_its_disk_to_a_host_that_was_told(houses: tuple[House, House], image: Path) -> None:
    """What a host is owed comes before all else: making way for a newer guest does not remove what it gave up."""
    one, two = houses
    one.do(BuildGuest(guest=spec(image, 1)))
    made = one.files.root.stat().st_ino
    two.do(PrepareGuest(guest=spec(image, 2)))  # and no more: it fails before the disk is its own
    one.do(DiscardGuest(server_id=SERVER, incarnation=1, to="two"))
    assert one.do(PrepareGuest(guest=spec(image, 3))).result == {"shared": True}
    one.do(DiscardGuest(server_id=SERVER, incarnation=3))  # and is taken back
    assert one.do(PrepareGuest(guest=spec(image, 4))).result == {"shared": True}
    one.do(TakeOverGuest(guest=spec(image, 4), run=True))
    two.do(DiscardGuest(server_id=SERVER, incarnation=2, to="one"))
    assert one.files.root.stat().st_ino == made and one.files.holder == Holder("one", 4)


def test_without_shared_storage_all_is_made_ready_anew(houses: tuple[House, House], image: Path) -> None:
    one, _ = houses
    for _ in range(2):
        assert one.do(PrepareGuest(guest=spec(image, 2))).result == {"shared": False}
    assert one.files.holder == Holder("one", 2) and one.files.root.exists()
