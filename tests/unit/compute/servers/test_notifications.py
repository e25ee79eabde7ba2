"""Who listens is told of what is done to servers, by the events, payloads and publishers of the reference (compute
admin guide, Versioned notifications)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select

from pileus.agent.commands import AwaitGuest, DepartGuest, MigrateGuest, PrepareGuest
from pileus.compute.model import Host, Server
from pileus.operations.notifications import Notification
from tests.client import Client
from tests.unit.compute.servers.live_world import LiveWorld
from tests.unit.compute.servers.shelf import Shelf
from tests.unit.compute.servers.world import REFUSED, World
from tests.unit.serving import Serving

Told = tuple[str, str]
"""An event, and who told it."""


def heard(serving: Serving) -> list[tuple[str, str, dict[str, Any]]]:
    """Events, publishers and payloads since the last look."""
    with serving.db.write() as session:
        rows = session.scalars(select(Notification).order_by(Notification.id)).all()
        for row in rows:
            session.delete(row)
        return [(row.event_type.removeprefix("instance."), row.publisher_id, row.payload) for row in rows]


def told(serving: Serving) -> list[Told]:
    return [(event, by.removeprefix("nova-compute:")) for event, by, _ in heard(serving)]


def shown(serving: Serving) -> list[tuple[str, str | None]]:
    """Events, and the task_states that they tell."""
    return [(event, payload["nova_object.data"]["task_state"]) for event, _, payload in heard(serving)]


@pytest.fixture
def moving(serving: Serving, admin: Client, demo: Client, boot: Callable[..., str]) -> World:
    world = World(serving, admin, demo, boot)
    heard(serving)
    return world


@pytest.fixture
def live(serving: Serving, admin: Client, demo: Client, boot: Callable[..., str]) -> LiveWorld:
    world = LiveWorld(serving, admin, demo, boot)
    heard(serving)
    return world


@pytest.fixture
def quiet(shelf: Shelf) -> Shelf:
    """Nothing was told of it yet."""
    heard(shelf.serving)
    return shelf


def test_a_resize_is_prepared_where_it_goes(moving: World) -> None:
    moving.resize()
    (start, _, prepared), (end, by, _), *_ = heard(moving.serving)
    assert (start, end, by) == ("resize_prep.start", "resize_prep.end", f"nova-compute:{moving.other}")
    data = prepared["nova_object.data"]
    assert prepared["nova_object.name"] == "InstanceActionResizePrepPayload"
    assert data["new_flavor"]["nova_object.data"]["flavorid"] == "84"
    assert data["flavor"]["nova_object.data"]["flavorid"] != "84" and data["host"] == moving.source


def test_a_power_state_that_there_is_none_of_keeps_nothing_from_being_told(moving: World) -> None:
    """An earlier release wrote down what a host said."""
    with moving.serving.db.write() as session:
        session.get_one(Server, moving.id).power_state = 2
    moving.resize()
    assert {one["nova_object.data"]["power_state"] for _, _, one in heard(moving.serving)} <= {"pending", "running"}
    assert moving.show()["status"] == "VERIFY_RESIZE"


def test_a_live_migration_ends_on_both_hosts(live: LiveWorld) -> None:
    live.migrate()
    here, there = live.source, live.other
    assert told(live.serving) == [
        ("live_migration_pre.start", there), ("live_migration_pre.end", there),
        ("live_migration_post.start", here), ("live_migration_post_dest.start", there),
        ("live_migration_post_dest.end", there), ("live_migration_post.end", here),
    ]  # fmt: skip


@pytest.mark.parametrize("refused", [DepartGuest, AwaitGuest, MigrateGuest])
def test_a_live_migration_that_fails_is_rolled_back(live: LiveWorld, refused: type) -> None:
    live.results[refused] = REFUSED
    live.migrate()
    with live.serving.db.read() as session:
        end = session.scalars(select(Notification).order_by(Notification.id.desc())).first()
        assert end is not None and (end.priority, end.payload["nova_object.data"]["fault"]) == ("INFO", None)
    events = [("live_migration_rollback.start", live.source), ("live_migration_rollback.end", live.source)]
    assert told(live.serving)[-2:] == events


def test_one_that_never_began_is_not_rolled_back(live: LiveWorld) -> None:
    live.change_other(disabled=True)
    live.migrate()
    assert live.status() == ("ACTIVE", live.source, "error") and told(live.serving) == []


def test_a_server_is_shelved_and_brought_back(quiet: Shelf) -> None:
    host = quiet.server().host or ""
    quiet.act("shelve")
    assert told(quiet.serving) == [
        ("shelve.start", host), ("shelve.end", host), ("shelve_offload.start", host), ("shelve_offload.end", host)
    ]  # fmt: skip
    quiet.act("unshelve")
    host = quiet.server().host or ""
    assert told(quiet.serving) == [("unshelve.start", host), ("unshelve.end", host)]


def test_offloading_is_told_by_itself(quiet: Shelf) -> None:
    quiet.serving.settings.shelved_offload_time = -1
    host = quiet.server().host or ""
    quiet.act("shelve")
    assert told(quiet.serving) == [("shelve.start", host), ("shelve.end", host)]
    quiet.act("unshelve")
    assert told(quiet.serving) == [("unshelve.start", host), ("unshelve.end", host)]
    quiet.act("shelve")
    heard(quiet.serving)
    quiet.act("shelveOffload", client=quiet.admin)
    (start, _, before), (end, by, after) = heard(quiet.serving)
    assert (start, end, by) == ("shelve_offload.start", "shelve_offload.end", f"nova-compute:{host}")
    assert [one["nova_object.data"]["state"] for one in (before, after)] == ["shelved", "shelved_offloaded"]
    assert [one["nova_object.data"]["host"] for one in (before, after)] == [host, None]


def test_what_is_not_done_has_no_end(quiet: Shelf) -> None:
    quiet.refuse("SnapshotGuest")
    quiet.act("shelve")
    assert [event for event, _ in told(quiet.serving)] == ["shelve.start"]
    quiet.refuse()
    quiet.act("shelve")
    heard(quiet.serving)
    quiet.refuse("BuildGuest")
    quiet.act("unshelve")
    assert {event for event, _ in told(quiet.serving)} == {"unshelve.start"}


def test_what_a_live_migration_shows_is_told(live: LiveWorld) -> None:
    live.migrate()
    *meanwhile, dest_end, source_end = shown(live.serving)
    assert {task_state for _, task_state in meanwhile} == {"migrating"}
    assert [dest_end, source_end] == [("live_migration_post_dest.end", None), ("live_migration_post.end", None)]
    live.results[MigrateGuest] = REFUSED
    live.migrate()
    assert shown(live.serving)[-2:] == [
        ("live_migration_rollback.start", "migrating"),
        ("live_migration_rollback.end", None),
    ]


def test_what_a_resize_shows_is_told(moving: World) -> None:
    moving.resize()
    assert shown(moving.serving) == [
        ("resize_prep.start", "resize_prep"), ("resize_prep.end", "resize_prep"),
        ("resize.start", "resize_migrating"), ("resize.end", "resize_migrated"),
        ("resize_finish.start", "resize_finish"), ("resize_finish.end", None),
    ]  # fmt: skip
    moving.act("revertResize")
    moving.replica.run()
    assert shown(moving.serving) == [("resize_revert.start", "resize_reverting"), ("resize_revert.end", None)]


def test_what_shelving_shows_is_told(quiet: Shelf) -> None:
    quiet.act("shelve")
    assert shown(quiet.serving) == [
        ("shelve.start", "shelving"), ("shelve.end", "shelving_offloading"),
        ("shelve_offload.start", "shelving_offloading"), ("shelve_offload.end", None),
    ]  # fmt: skip
    quiet.act("unshelve")
    assert shown(quiet.serving) == [("unshelve.start", "unshelving"), ("unshelve.end", None)]
    quiet.serving.settings.shelved_offload_time = -1
    quiet.act("shelve")
    assert shown(quiet.serving) == [("shelve.start", "shelving"), ("shelve.end", None)]


def test_an_evacuation_is_told_once_by_who_was_asked(moving: World) -> None:
    with moving.serving.db.write() as session:
        session.get_one(Host, moving.source).forced_down = True
    moving.refuse(PrepareGuest)
    assert moving.act("evacuate", {}, moving.admin).status_code == 200
    moving.replica.run()
    ((event, by, payload),) = heard(moving.serving)
    assert (event, by) == ("evacuate", f"nova-api:{moving.serving.settings.replica_id}")
    data = payload["nova_object.data"]
    assert (data["host"], data["task_state"]) == (moving.source, "rebuilding")
