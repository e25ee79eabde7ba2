"""A guest of libvirt and QEMU is set aside, goes on on its host or on another, and is taken back.

Two hypervisors on one machine stand for two hosts; needs what libvirt_world.py says.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from msgspec.structs import replace

from pileus.agent.commands import (
    BuildGuest,
    DiscardGuest,
    DropStash,
    GuestSpec,
    PowerState,
    ReceiveGuest,
    RestoreGuest,
    StartGuest,
    StashGuest,
    StopGuest,
)
from pileus.agent.errors import CommandFailed
from pileus.agent.timeline import Timeline
from tests.real.guest_world import TICKING, refused, specification
from tests.real.libvirt_world import HOST, IMAGE, RUNNING, SHUTDOWN, Cloud, pytestmark, state_folder, until
from tests.real.other_host import OtherHost

__all__ = ["pytestmark"]

GIB = 1 << 30


@pytest.fixture(scope="module")
def clouds() -> Iterator[tuple[Cloud, Cloud]]:
    """Two hosts; the second reaches the first."""
    with state_folder() as one, state_folder() as two:
        first, second = Cloud(one), Cloud(two)
        second.hypervisor._peers = OtherHost(first)
        try:
            yield first, second
        finally:
            for cloud in (first, second):
                cloud.hypervisor.stop(keep_guests=False)


@pytest.fixture
def guest(clouds: tuple[Cloud, Cloud]) -> Iterator[GuestSpec]:
    """One that runs on the first host, and has booted."""
    guest = specification(IMAGE.resolve(), "qcow2", TICKING, incarnation=1, ephemeral_gib=1, swap_mib=16)
    first, _ = clouds
    assert first.do(BuildGuest(guest=guest)) == RUNNING
    until(lambda: "tick 2" in first.console(guest.server_id))
    yield guest
    for cloud in clouds:
        cloud.do(DiscardGuest(server_id=guest.server_id, incarnation=99))
        assert cloud.guests() == {}


FILES = ["disk", "disk.eph0", "disk.config"]


def sha512(guest: GuestSpec) -> str:
    assert guest.image is not None
    return guest.image.sha512


def stash(guest: GuestSpec) -> StashGuest:
    return StashGuest(server_id=guest.server_id, incarnation=2, to="there", timeout_s=20)


def receive(guest: GuestSpec, files: list[str], run: bool = True) -> ReceiveGuest:
    larger = replace(guest, incarnation=3, root_gib=2, memory_mib=160, swap_mib=32)
    return ReceiveGuest(guest=larger, source=HOST, address="", set_aside=2, files=tuple(files), run=run)


def boots(cloud: Cloud, guest: GuestSpec) -> None:
    """The guest comes up again from the disk that it had: its user data do not run a second time."""
    until(lambda: "login:" in cloud.console(guest.server_id))
    assert "tick" not in cloud.console(guest.server_id)


def disk(cloud: Cloud, guest: GuestSpec) -> str:
    path = cloud.hypervisor._files.guest(guest.server_id).root
    return subprocess.check_output(["qemu-img", "info", "-U", str(path)], text=True)


def test_a_guest_goes_to_another_host(clouds: tuple[Cloud, Cloud], guest: GuestSpec) -> None:
    first, second = clouds
    for _ in range(2):
        aside = first.do(stash(guest))
        assert aside == {"power_state": PowerState.SHUTDOWN, "files": FILES, "base": f"{sha512(guest)}.raw"}
        assert first.guests() == {guest.server_id: None} and first.hypervisor._find(guest.server_id) is None
    timeline = Timeline()
    for _ in range(2):
        assert second.do(receive(guest, aside["files"]), timeline) == RUNNING
    names = [event.name for event in timeline.events()]
    assert [name for name in names if "image" not in name] == [
        "copy disk", "resize disk", "console", "define guest", "running"
    ]  # fmt: skip
    (copied,) = (event.detail for event in timeline.events() if event.name == "copy disk")
    assert copied["shared"] is False
    boots(second, guest)
    assert "virtual size: 2 GiB" in disk(second, guest)
    assert second.hypervisor._find(guest.server_id).maxMemory() == 160 << 10
    assert first.do(DropStash(server_id=guest.server_id, incarnation=2)) is None
    assert first.guests() == {}


def test_a_guest_whose_image_is_gone_brings_what_its_disk_stands_on(
    clouds: tuple[Cloud, Cloud], guest: GuestSpec
) -> None:
    """As one that came back from the shelf: its server names another image than the one that it was built of then."""
    first, second = clouds
    aside = first.do(stash(guest))
    assert aside is not None and guest.image is not None
    second.hypervisor._images.path(aside["base"]).unlink(missing_ok=True)
    gone = replace(guest.image, location="file:///nowhere", sha512="0" * 128)
    command = replace(receive(replace(guest, image=gone), aside["files"]), base=aside["base"])
    assert second.do(command) == RUNNING
    boots(second, guest)
    brought = second.hypervisor._files.guest(guest.server_id).base_name()
    assert brought and brought != aside["base"] and second.hypervisor._images.path(brought).exists()
    assert not second.hypervisor._images.path(aside["base"]).exists(), "no image is made of it"
    assert brought in (second.hypervisor._files.bases() or ())
    with pytest.raises(CommandFailed):
        first.hypervisor.handed_over("elsewhere", guest.server_id, aside["base"])


def test_a_guest_is_taken_back(clouds: tuple[Cloud, Cloud], guest: GuestSpec) -> None:
    first, second = clouds
    aside = first.do(stash(guest))
    assert aside is not None
    assert second.do(receive(guest, aside["files"], run=False)) == SHUTDOWN
    second.do(DiscardGuest(server_id=guest.server_id, incarnation=3, stash=False))
    restored = replace(guest, incarnation=4)
    for _ in range(2):
        assert first.do(RestoreGuest(guest=restored, set_aside=2, run=True)) == RUNNING
    until(lambda: first.console(guest.server_id).count("login:") == 2)
    first.do(StopGuest(server_id=guest.server_id, incarnation=4, timeout_s=0))
    assert first.do(RestoreGuest(guest=restored, set_aside=2, run=True)) == SHUTDOWN, "it is as it was already"


def test_a_guest_goes_on_on_its_host(clouds: tuple[Cloud, Cloud], guest: GuestSpec) -> None:
    first, _ = clouds
    aside = first.do(stash(guest))
    assert aside is not None
    timeline = Timeline()
    assert first.do(receive(guest, aside["files"]), timeline) == RUNNING
    (copied,) = (event.detail for event in timeline.events() if event.name == "copy disk")
    assert copied["shared"] is True
    boots(first, guest)
    assert refused(first, RestoreGuest(guest=replace(guest, incarnation=4), set_aside=2, run=True)) == "busy"
    first.do(DiscardGuest(server_id=guest.server_id, incarnation=3, stash=False))
    assert first.guests() == {guest.server_id: None}
    assert first.do(RestoreGuest(guest=replace(guest, incarnation=4), set_aside=2, run=False)) == SHUTDOWN
    assert "virtual size: 1 GiB" in disk(first, guest)
    assert first.do(StartGuest(guest=replace(guest, incarnation=4))) == RUNNING


def test_what_was_set_aside_halfway_is_taken_back(
    clouds: tuple[Cloud, Cloud], guest: GuestSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = clouds

    def breaks(*_: Any) -> None:
        raise OSError("no")

    with monkeypatch.context() as patch:
        patch.setattr("pileus.agent.storage.moved.set_aside", breaks)
        with pytest.raises(OSError):
            first.do(stash(guest))
    assert first.do(RestoreGuest(guest=replace(guest, incarnation=4), set_aside=2, run=True)) == RUNNING
    until(lambda: first.console(guest.server_id).count("login:") == 2)
