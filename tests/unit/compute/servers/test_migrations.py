"""The list of moves, at each microversion and for each caller."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import select

from pileus.compute.migration_model import Migration
from pileus.compute.model import Server
from tests.client import Client
from tests.unit.compute.servers.world import World, listed
from tests.unit.counting import statements
from tests.unit.serving import Serving


@pytest.fixture
def world(serving: Serving, admin: Client, demo: Client, boot: Callable[..., str]) -> World:
    """One server was resized, and that reverted; then it was migrated."""
    world = World(serving, admin, demo, boot)
    world.resize()
    world.done("revertResize")
    world.done("migrate", user=admin)
    return world


def types(user: Client, query: str = "", version: str = "2.104") -> list[str]:
    return [one["migration_type"] for one in listed(user, query, version).json["migrations"]]


def test_what_a_move_shows(world: World) -> None:
    newest, first = listed(world.admin).json["migrations"]
    move = world.migration()
    assert first["status"] == "reverted" and newest["id"] > first["id"]
    assert (first["old_instance_type_id"], first["new_instance_type_id"]) == (42, 84)
    assert (newest["old_instance_type_id"], newest["new_instance_type_id"]) == (42, 42)
    assert newest == {
        "id": move.id,
        "uuid": move.uuid,
        "instance_uuid": world.id,
        "status": "finished",
        "migration_type": "migration",
        "source_compute": world.source,
        "source_node": world.source,
        "dest_compute": world.other,
        "dest_node": world.other,
        "dest_host": "127.0.0.1",
        "old_instance_type_id": 42,
        "new_instance_type_id": 42,
        "user_id": move.user_id,
        "project_id": move.project_id,
        "created_at": newest["created_at"],
        "updated_at": newest["updated_at"],
    }
    assert move.project_id != world.row().project_id, "who asked for it, not whose server it is"


@pytest.mark.parametrize(
    ("version", "lacks"),
    [
        ("2.1", {"migration_type", "uuid", "user_id", "project_id"}),
        ("2.23", {"uuid", "user_id", "project_id"}),
        ("2.59", {"user_id", "project_id"}),
        ("2.80", set()),
    ],
)
def test_what_each_microversion_shows(world: World, version: str, lacks: set[str]) -> None:
    newest, old = (listed(world.admin, version=one).json["migrations"][0] for one in ("2.104", version))
    assert newest.keys() - old.keys() == lacks


def test_filters(world: World) -> None:
    for query, found in {
        "?migration_type=resize": ["resize"],
        "?status=finished": ["migration"],
        f"?host={world.other}": ["migration", "resize"],
        f"?source_compute={world.other}": [],
        f"?instance_uuid={world.id}": ["migration", "resize"],
        "?instance_uuid=other": [],
        "?hidden=true": [],
        "?changes-since=2100-01-01T00:00:00": [],
        "?changes-before=2100-01-01T00:00:00": ["migration", "resize"],
        f"?project_id={world.row().project_id}": ["resize"],
        "?user_id=nobody": [],
    }.items():
        assert types(world.admin, query) == found, query
    assert listed(world.admin, "?changes-since=2020-01-02&changes-before=2020-01-01").status_code == 400
    assert types(world.admin, "?user_id=nobody&colour=red", "2.23") == ["migration", "resize"]
    for query, version in (("?colour=red", "2.59"), ("?user_id=u", "2.79"), ("?changes-before=2020-01-01", "2.65")):
        assert listed(world.admin, query, version).status_code == 400


def test_pages(world: World) -> None:
    page = listed(world.admin, "?limit=1").json
    assert [one["migration_type"] for one in page["migrations"]] == ["migration"]
    (link,) = page["migrations_links"]
    assert types(world.admin, "?" + link["href"].partition("?")[2]) == ["resize"]
    assert listed(world.admin, "?marker=nowhere").status_code == 400
    assert types(world.admin, "?limit=1", "2.58") == ["migration", "resize"], "there are no pages yet"


def test_who_sees_which(world: World, serving: Serving) -> None:
    assert listed(world.demo).status_code == 403
    with serving.db.write() as session:
        move = session.scalars(select(Migration).where(Migration.type == "resize")).one()
        mine, project = move.project_id, session.get_one(Server, world.id).project_id
        assert mine == project
    world.grant(project, "manager")
    own = f"?project_id={project}"
    assert types(world.demo, own) == ["resize"], "those that its project asked for, and said so"
    (shown,) = listed(world.demo, own).json["migrations"]
    hidden = ("source_compute", "source_node", "dest_compute", "dest_node", "dest_host")
    assert {shown[name] for name in hidden} == {None}
    for query, version in (("", "2.104"), ("", "2.1"), (f"?project_id={'a' * 32}", "2.104"), (own, "2.58")):
        assert listed(world.demo, query, version).status_code == 403, (query, version)
    assert listed(world.demo, f"{own}&host={world.other}").status_code == 403


def test_a_list_takes_as_many_statements_as_a_longer_one(world: World) -> None:
    few = statements(world.serving, lambda: listed(world.admin, "?limit=1"))
    more = statements(world.serving, lambda: listed(world.admin))
    assert len(few) == len(more)
