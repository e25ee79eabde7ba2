"""The image base of a guest that comes from another host, by what that one says of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from pileus.agent.commands import AwaitGuest, Departure, GuestSpec, Peer, ReceiveGuest
from pileus.agent.errors import CommandFailed
from pileus.agent.hypervisor.newcomers import Coming, Newcomers
from pileus.agent.hypervisor.peers import Told
from pileus.agent.images import ImageCache
from pileus.agent.storage.file import GuestFiles
from pileus.agent.storage.instances import InstanceFiles
from pileus.agent.timeline import Timeline
from tests.unit.agent.specs import SERVER, guest, image_of

GIB = 1 << 30
ITS = f"{'a' * 128}.raw"
"""A base of another image than the server's."""
OTHERS = f"{'a' * 128}.{'b' * 32}.raw"
"""One that was brought from another host."""


class Source:
    """A host that says how large a file is."""

    def __init__(self) -> None:
        self.size, self.asked = GIB, list[str]()

    def fetch(self, peer: Peer, server_id: str, file: str, into: Path, progress: Told, timeline: Timeline) -> None:
        self.asked.append(file)
        progress(0, self.size)
        into.write_bytes(b"base")


class Here(Newcomers):
    """As much of a host as a base needs."""

    def __init__(self, folder: Path) -> None:
        self._host, self.source = "here", Source()
        self._peers: Any = self.source
        self._files = InstanceFiles(folder / "instances", host=self._host)
        self._images = ImageCache(folder / "images")

    @property
    def files(self) -> GuestFiles:
        return self._files.guest(SERVER)

    def bring(self, command: Coming, name: str) -> Path:
        return self._base_for(command, name, self.files, Timeline())


@pytest.fixture
def here(tmp_path: Path) -> Here:
    return Here(tmp_path)


@pytest.fixture
def spec(tmp_path: Path) -> GuestSpec:
    """Its ephemeral disk is larger than its root disk, of 1 GiB."""
    (tmp_path / "image").write_bytes(b"B" * 512)
    return guest(ephemeral_gib=8, image=image_of(tmp_path / "image", "raw"))


@pytest.fixture(params=["received", "awaited"])
def command(request: pytest.FixtureRequest, spec: GuestSpec) -> Coming:
    if request.param == "received":
        return ReceiveGuest(guest=spec, source="there", address="", set_aside=1, files=(), run=True)
    return AwaitGuest(guest=spec, source="there", address="", departure=Departure())


def with_image(command: Coming, **changes: Any) -> Coming:
    """The same, of a server whose image is another."""
    image = command.guest.image
    assert image is not None
    return replace(command, guest=replace(command.guest, image=replace(image, **changes)))


def test_it_is_as_large_as_the_root_disk_at_most(here: Here, command: Coming) -> None:
    assert here.bring(command, ITS).read_bytes() == b"base"
    here.source.size += 1
    with pytest.raises(CommandFailed) as refused:
        here.bring(command, ITS)
    assert refused.value.code == "storage" and len(list(here._images._directory.iterdir())) == 1


@pytest.mark.parametrize("named", [False, True])
def test_so_is_that_of_the_servers_image(here: Here, command: Coming, named: bool) -> None:
    command = with_image(command, size_bytes=GIB + 1)
    assert command.guest.image is not None
    with pytest.raises(CommandFailed) as refused:
        here.bring(command, here._images.name(command.guest.image) if named else "")
    assert refused.value.code == "flavor-disk-too-small" and here.source.asked == []


def test_where_the_flavor_has_no_root_disk_nothing_is_said(here: Here, command: Coming) -> None:
    here.source.size *= 100
    assert here.bring(replace(command, guest=replace(command.guest, root_gib=0)), ITS).read_bytes() == b"base"


def test_what_was_brought_for_it_is_not_brought_again(here: Here, command: Coming) -> None:
    here.files.make_directory(1)
    base = here.bring(command, ITS)
    here.files.note_base(base)
    assert here.bring(command, ITS) == base and here.source.asked == [ITS]


def test_what_was_brought_for_another_is_not_taken(here: Here, command: Coming) -> None:
    here._images.path(OTHERS).write_bytes(b"another tenant's")
    assert here.bring(command, OTHERS).read_bytes() == b"base" and here.source.asked == [OTHERS]


def test_one_that_moves_on_its_host_stands_on_what_was_brought_for_it(here: Here, command: Coming) -> None:
    here._images.path(OTHERS).write_bytes(b"brought for it")
    assert here.bring(replace(command, source="here"), OTHERS).read_bytes() == b"brought for it"
    assert here.source.asked == []


def test_who_knows_no_other_host_brings_nothing(here: Here, command: Coming) -> None:
    here._peers = None
    assert here.bring(command, "").exists(), "of the image, which is here"
    with pytest.raises(CommandFailed, match="how to reach others"):
        here.bring(command, ITS)
    with pytest.raises(CommandFailed, match="from images only"):
        here.bring(replace(command, guest=replace(command.guest, image=None)), "")


def test_an_image_that_is_gone_is_as_its_source_has_it(here: Here, command: Coming, tmp_path: Path) -> None:
    assert command.guest.image is not None
    (tmp_path / "image").unlink()
    name = here._images.name(command.guest.image)
    assert here.bring(command, name).read_bytes() == b"base" and here.source.asked == [name]
    with pytest.raises(CommandFailed) as failed:
        here.bring(command, "")
    assert failed.value.code == "image-missing", "its source has none"
