"""Live migrations of a server in progress: what is shown of them, and how they are not steered."""

from __future__ import annotations

from typing import Any

import pytest

from pileus.agent.commands import AwaitGuest
from pileus.compute.model import Server
from tests.unit.compute.servers.live_world import LiveWorld, world
from tests.unit.compute.servers.world import SERVERS, listed

__all__ = ["world"]

FORCE = {"force_complete": None}


def message(answer: Any) -> str:
    (fault,) = answer.json.values()
    said: str = fault["message"]
    return said


def test_one_in_progress_has_links_in_the_list_of_all(world: LiveWorld) -> None:
    world.begin()
    (shown,) = listed(world.admin, version="2.23").json["migrations"]
    tail = f"/servers/{world.id}/migrations/{world.migration().id}"
    assert [(link["rel"], link["href"].partition("/compute")[2]) for link in shown["links"]] == [
        ("self", f"/v2.1{tail}"), ("bookmark", tail)
    ]  # fmt: skip
    assert "links" not in listed(world.admin, version="2.22").json["migrations"][0]


def test_what_is_over_or_no_live_migration_has_none(world: LiveWorld) -> None:
    world.migrate()
    world.resize()
    assert all("links" not in one for one in listed(world.admin).json["migrations"])


def test_how_far_it_is_is_unknown_at_first(world: LiveWorld) -> None:
    world.begin()
    shown = world.steer("GET").json["migration"]
    amounts = [value for name, value in shown.items() if name.endswith("_bytes")]
    assert len(amounts) == 6 and set(amounts) == {None}


def test_what_is_not_there(world: LiveWorld) -> None:
    """A migration that is not there cannot be forced; to show or to end it is to miss it."""
    world.begin()
    path = f"{SERVERS}/{world.id}/migrations/999"
    headers = {"OpenStack-API-Version": "compute 2.104"}
    shown = world.admin("GET", path, headers=headers)
    assert (shown.status_code, message(shown)) == (
        404, f"In-progress live migration 999 is not found for server {world.id}."
    )  # fmt: skip
    missing = f"Migration 999 not found for instance {world.id}"
    ended = world.admin("DELETE", path, headers=headers)
    assert (ended.status_code, message(ended)) == (404, missing)
    forced = world.admin("POST", path + "/action", json=FORCE, headers=headers)
    assert (forced.status_code, message(forced)) == (400, missing)


def test_what_has_not_begun_is_not_forced(world: LiveWorld) -> None:
    world.results[AwaitGuest] = None
    world.migrate()
    answer, number = world.steer("POST", body=FORCE), world.migration().id
    assert (answer.status_code, message(answer)) == (
        400,
        f"Migration {number} state of instance {world.id} is preparing. Cannot force complete while the migration is "
        "in this state.",
    )
    answer = world.steer("DELETE", "2.64")
    assert answer.status_code == 400 and "Cannot abort live migration while" in message(answer)


def test_a_held_server_is_not_forced_but_may_be_kept(world: LiveWorld) -> None:
    with world.serving.db.write() as session:
        session.get_one(Server, world.id).vm_state = "paused"
    world.begin()
    answer = world.steer("POST", body=FORCE)
    assert (answer.status_code, message(answer)) == (
        409, f"Cannot 'force_complete' instance {world.id} while it is in vm_state paused"
    )  # fmt: skip
    assert world.steer("DELETE").status_code == 202


def test_a_locked_server_is_steered_by_administrators_alone(world: LiveWorld) -> None:
    world.resize()
    world.done("revertResize")
    world.begin()
    world.grant(world.row().project_id, "manager")
    assert world.act("lock").status_code == 202
    headers = {"OpenStack-API-Version": "compute 2.104"}
    for answer in (
        world.demo("DELETE", world.one(), headers=headers),
        world.demo("POST", world.one("/action"), json=FORCE, headers=headers),
    ):
        assert (answer.status_code, message(answer)) == (409, f"Instance {world.id} is locked")
    assert world.told == [] and world.steer("POST", body=FORCE).status_code == 202


@pytest.mark.parametrize("version", ["2.23", "2.104"])
def test_a_server_that_is_not_migrated(world: LiveWorld, version: str) -> None:
    world.migrate()
    answer = world.steer("POST", version, FORCE)
    assert answer.status_code == 409 and "task_state None" in message(answer)
