"""What requests for moves are refused at once, in which words, and in which order it is looked at."""

from __future__ import annotations

from typing import Any

import pytest

from pileus.compute import services
from pileus.compute.model import Host, Server
from pileus.compute.services import Change
from pileus.compute.snapshots import ImageSnapshot
from tests.client import Client
from tests.unit.compute.servers.world import World


def refused(world: World, key: str, body: Any, user: Client, version: str = "2.104") -> tuple[int, str]:
    answer = world.act(key, body, user, **{"OpenStack-API-Version": f"compute {version}"})
    assert answer.status_code >= 400, answer.status_code
    (fault,) = answer.json.values()
    return answer.status_code, fault["message"]


def become(world: World, **values: Any) -> None:
    """The server's row is to be so."""
    with world.serving.db.write() as session:
        server = session.get_one(Server, world.id)
        for name, value in values.items():
            setattr(server, name, value)


def declare_down(world: World) -> None:
    """The server's host is down."""
    with world.serving.db.write() as session:
        services.change(session, session.get_one(Host, world.source), Change(forced_down=True))


def test_nothing_is_moved_from_a_host_that_is_down(world: World) -> None:
    """Its owner is told so, and not which one it is."""
    declare_down(world)
    unavailable = (409, "Service is unavailable at this time.")
    assert refused(world, "resize", {"flavorRef": "84"}, world.demo) == unavailable
    assert refused(world, "resize", {"flavorRef": "nothing"}, world.demo) == unavailable
    assert refused(world, "migrate", None, world.admin) == unavailable
    assert refused(world, "migrate", {"host": "nowhere"}, world.admin) == unavailable
    assert refused(world, "migrate", {"host": world.other}, world.demo)[0] == 403, "who may not is not told"
    become(world, vm_state="paused")
    assert refused(world, "resize", {"flavorRef": "84"}, world.demo) == (
        409, f"Cannot 'resize' instance {world.id} while it is in vm_state paused"
    )  # fmt: skip


def test_one_that_is_disabled_is_left(world: World) -> None:
    with world.serving.db.write() as session:
        services.change(session, session.get_one(Host, world.source), Change(disabled=True))
    world.done("migrate", user=world.admin)
    assert world.show()["status"] == "VERIFY_RESIZE"


@pytest.mark.parametrize("body", [None, {}, {"host": None}])
def test_a_host_need_not_be_named(world: World, body: Any) -> None:
    world.done("migrate", body, world.admin)
    assert world.migration().dest_host == world.other


@pytest.mark.parametrize(
    ("image", "why"),
    [
        (ImageSnapshot(min_ram=1024), "Flavor's memory is too small for requested image."),
        (
            ImageSnapshot(min_disk=50),
            "Flavor's disk is smaller than the minimum size specified in image metadata. Flavor disk is 1073741824 "
            "bytes, minimum size is 53687091200 bytes.",
        ),
        (
            ImageSnapshot(size_bytes=2 << 30),
            "Flavor's disk is too small for requested image. Flavor disk is 1073741824 bytes, image is 2147483648 "
            "bytes.",
        ),
    ],
)
def test_a_flavor_has_to_fit_the_servers_image(world: World, image: ImageSnapshot, why: str) -> None:
    become(world, image=image)
    assert refused(world, "resize", {"flavorRef": "84"}, world.demo) == (400, why)
    assert world.used() == (1, 192), "the quota is as before"


def test_an_evacuation_is_judged_by_what_it_says_first(world: World) -> None:
    """And then by the server's state, and then by its host."""
    become(world, vm_state="paused")
    for version, body, status, why in (
        ("2.29", {"force": True}, 400, "Can't force to a non-provided destination"),
        ("2.13", {"onSharedStorage": "yes", "adminPass": "p"}, 400, "admin password can't be changed on existing disk"),
        ("2.104", {"host": "nowhere"}, 404, "Compute host nowhere not found."),
        ("2.104", {"host": world.source}, 400, "The target host can't be the same one."),
        ("2.104", {}, 409, f"Cannot 'evacuate' instance {world.id} while it is in vm_state paused"),
    ):
        assert refused(world, "evacuate", body, world.admin, version) == (status, why)
    become(world, vm_state="active")
    assert refused(world, "evacuate", {}, world.admin) == (400, f"Compute service of {world.source} is still in use.")


def test_a_live_migration_is_judged_by_what_it_says_first(world: World) -> None:
    become(world, vm_state="stopped")
    body = {"host": None, "block_migration": "auto"}
    assert refused(world, "os-migrateLive", body | {"force": True}, world.admin, "2.67") == (
        400, "Can't force to a non-provided destination"
    )  # fmt: skip
    assert refused(world, "os-migrateLive", body | {"host": "nowhere"}, world.admin) == (
        409, f"Cannot 'os-migrateLive' instance {world.id} while it is in vm_state stopped"
    )  # fmt: skip


def test_the_vm_state_is_looked_at_before_the_task(world: World) -> None:
    assert world.act("os-stop").status_code == 202
    assert refused(world, "os-start", None, world.demo) == (
        409, f"Cannot 'start' instance {world.id} while it is in vm_state active"
    )  # fmt: skip
    assert refused(world, "migrate", None, world.admin) == (
        409, f"Cannot 'migrate' instance {world.id} while it is in task_state powering-off"
    )  # fmt: skip
