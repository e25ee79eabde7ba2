"""A guest of libvirt and QEMU whose host is dead goes on on another, with and without the disk that it had.

Two hypervisors on one machine stand for two hosts; needs what libvirt_world.py says.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest
from msgspec.structs import replace

from pileus.agent.commands import (
    BuildGuest,
    DiscardGuest,
    GuestSpec,
    PrepareGuest,
    RebootGuest,
    StartGuest,
    TakeOverGuest,
)
from pileus.agent.storage.promises import Holder
from pileus.agent.timeline import Timeline
from tests.real.guest_world import TICKING, refused, specification
from tests.real.libvirt_world import IMAGE, RUNNING, SHUTDOWN, Cloud, pytestmark, state_folder, until

__all__ = ["pytestmark"]


@pytest.fixture(scope="module", params=["separate", "shared"])
def clouds(request: pytest.FixtureRequest) -> Iterator[tuple[Cloud, Cloud]]:
    """Two hosts, with separate or with shared storage of instances."""
    with state_folder() as one, state_folder() as two:
        first = Cloud(one, "one")
        if request.param == "shared":
            (two / "instances").symlink_to(one / "instances")
        second = Cloud(two, "two")
        try:
            yield first, second
        finally:
            for cloud in (first, second):
                cloud.hypervisor.stop(keep_guests=False)


@pytest.fixture
def shared(clouds: tuple[Cloud, Cloud]) -> bool:
    return (clouds[1].hypervisor._state / "instances").is_symlink()


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
        cloud.do(DiscardGuest(server_id=guest.server_id, incarnation=99))
    for cloud in clouds:
        assert cloud.guests() == {}
    assert not list((first.hypervisor._state / "instances").iterdir())


def dies(cloud: Cloud, guest: GuestSpec) -> None:
    """The machine is off."""
    cloud.hypervisor._find(guest.server_id).destroy()


def anew(guest: GuestSpec) -> GuestSpec:
    return replace(guest, incarnation=2)


def test_a_guest_goes_on_on_another_host(clouds: tuple[Cloud, Cloud], guest: GuestSpec, shared: bool) -> None:
    first, second = clouds
    dies(first, guest)
    for _ in range(2):
        assert second.do(PrepareGuest(guest=anew(guest))) == {"shared": shared}
        assert second.power(guest.server_id) != 1, "nothing runs yet"
    timeline = Timeline()
    for _ in range(2):
        assert second.do(TakeOverGuest(guest=anew(guest), run=True), timeline) == RUNNING
    assert ("take disk over" in [event.name for event in timeline.events()]) == shared
    boots = 2 if shared else 1
    until(lambda: second.console(guest.server_id).count("login:") == boots)
    if shared:
        assert second.console(guest.server_id).count("tick 1\r") == 1, "its user data do not run a second time"
    else:
        until(lambda: "tick 1\r" in second.console(guest.server_id))
    disk = second.hypervisor._files.guest(guest.server_id).root
    backing = subprocess.check_output(["qemu-img", "info", "-U", str(disk)], text=True)
    assert str(second.hypervisor._state / "images") in backing
    # The dead host is back, and is told.
    for _ in range(2):
        assert first.do(DiscardGuest(server_id=guest.server_id, incarnation=1)) is None
    assert first.guests() == {} and first.hypervisor._find(guest.server_id) is None
    assert disk.exists() and second.power(guest.server_id) == 1


@pytest.mark.parametrize("back", [False, True])
def test_a_start_takes_over_what_was_not_yet(
    clouds: tuple[Cloud, Cloud], guest: GuestSpec, shared: bool, back: bool
) -> None:
    """The new host failed after the fence; the dead one is back before, or after, the server is started by hand."""
    if not shared:
        pytest.skip("there is nothing to be taken over on separate storage")
    first, second = clouds
    dies(first, guest)
    second.do(PrepareGuest(guest=anew(guest)))
    fenced = DiscardGuest(server_id=guest.server_id, incarnation=1, to="two")
    if back:
        first.do(fenced)
        assert (first.guests(), list(second.guests())) == ({}, [guest.server_id])
    assert second.do(RebootGuest(guest=anew(guest), hard=True)) == RUNNING
    first.do(fenced)
    files = second.hypervisor._files.guest(guest.server_id)
    assert files.holder == Holder("two", 2) and second.power(guest.server_id) == 1
    backing = subprocess.check_output(["qemu-img", "info", "-U", str(files.root)], text=True)
    assert str(second.hypervisor._state / "images") in backing
    until(lambda: second.console(guest.server_id).count("login:") == 2)


def test_what_was_made_ready_goes_and_the_guest_is_as_it_was(
    clouds: tuple[Cloud, Cloud], guest: GuestSpec, shared: bool
) -> None:
    first, second = clouds
    dies(first, guest)
    second.do(PrepareGuest(guest=anew(guest)))
    second.do(DiscardGuest(server_id=guest.server_id, incarnation=2))
    assert second.guests() == {}
    assert first.do(StartGuest(guest=guest)) == RUNNING
    until(lambda: first.console(guest.server_id).count("login:") == 2)


def test_one_that_was_off_stays_off(clouds: tuple[Cloud, Cloud], guest: GuestSpec, shared: bool) -> None:
    first, second = clouds
    dies(first, guest)
    assert refused(second, PrepareGuest(guest=anew(guest), shared=not shared)) == (
        "shared-storage" if shared else "local-storage"
    )
    second.do(PrepareGuest(guest=anew(guest), shared=shared))
    assert second.do(TakeOverGuest(guest=anew(guest), run=False)) == SHUTDOWN
    first.do(DiscardGuest(server_id=guest.server_id, incarnation=1))
    assert second.do(StartGuest(guest=anew(guest))) == RUNNING


def test_a_disk_that_is_in_use_is_not_taken(clouds: tuple[Cloud, Cloud], guest: GuestSpec, shared: bool) -> None:
    """The host is only cut off, and its guest runs."""
    if not shared:
        pytest.skip("there is nothing to be seen on separate storage")
    first, second = clouds
    assert refused(second, PrepareGuest(guest=anew(guest))) == "in-use"
    assert refused(second, TakeOverGuest(guest=anew(guest), run=True)) == "in-use"
    assert first.power(guest.server_id) == 1
