"""Live migrations of a server in progress: what is shown of them, how they are ended or forced, and how not."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import func, select

from pileus.agent.commands import AwaitGuest, DiscardGuest, Failure, MigrateGuest
from pileus.compute.model import Server
from pileus.errors import Unavailable
from pileus.operations import OperationRow
from pileus.operations.notifications import Notification
from pileus.operations.questions import Questions
from tests.unit.compute.servers.live_world import LiveWorld, world
from tests.unit.compute.servers.world import NEWEST, SERVERS, listed
from tests.unit.operations.world import Replica

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


@pytest.mark.parametrize("number", ["99999", "none", "9" * 30], ids=len)
def test_what_is_not_there(world: LiveWorld, number: str) -> None:
    """A migration that is not there cannot be forced; to show or to end it is to miss it."""
    world.begin()
    path = f"{SERVERS}/{world.id}/migrations/{number}"
    shown = world.admin("GET", path, headers=NEWEST)
    assert (shown.status_code, message(shown)) == (
        404, f"In-progress live migration {number} is not found for server {world.id}."
    )  # fmt: skip
    missing = f"Migration {number} not found for instance {world.id}"
    ended = world.admin("DELETE", path, headers=NEWEST)
    assert (ended.status_code, message(ended)) == (404, missing)
    forced = world.admin("POST", path + "/action", json=FORCE, headers=NEWEST)
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


# --- ended, and forced ----------------------------------------------------------------------------------------------


def test_it_is_aborted(world: LiveWorld) -> None:
    world.begin()
    assert world.steer("DELETE", "2.23").status_code in (404, 405)
    assert world.steer("DELETE").status_code == 202
    assert world.debts() == [(world.source, "stay on source")]
    world.end(MigrateGuest, Failure(code="abandoned", message="it was aborted"))
    assert world.debts() == []
    assert world.status() == ("ACTIVE", world.source, "cancelled")
    assert world.steer("DELETE").status_code == 409, "it is not migrated any more"
    actions = world.demo("GET", f"{SERVERS}/{world.id}/os-instance-actions").json["instanceActions"]
    assert [one["action"] for one in actions][:2] == ["live_migration_cancel", "live-migration"]


def test_one_that_has_not_begun_is_aborted_by_a_word(world: LiveWorld) -> None:
    world.results[AwaitGuest] = None
    world.migrate()
    assert world.status()[2] == "preparing"
    assert world.steer("DELETE", "2.65").status_code == 202
    assert world.debts() == [(world.other, "discard guest")], "what it prepares may take hours, and ends for this"
    world.end(AwaitGuest, {"block": True})
    assert world.status() == ("ACTIVE", world.source, "cancelled") and world.debts() == []
    discards = [one.command for one in world.hosts.sent if isinstance(one.command, DiscardGuest)]
    assert {(one.incarnation, one.stash) for one in discards} == {(3, False)}


def test_what_is_aborted_is_aborted_once(world: LiveWorld) -> None:
    """Nor is it forced then; who asks again and again does not fill the journal and the notifications."""

    def written() -> list[int | None]:
        with world.serving.db.read() as session:
            return [session.scalar(select(func.count()).select_from(row)) for row in (OperationRow, Notification)]

    world.begin()
    assert world.steer("DELETE").status_code == 202
    before = written()
    assert [world.steer("DELETE", version).status_code for version in ("2.24", "2.104")] == [202, 202]
    answer = world.steer("POST", body=FORCE)
    assert answer.status_code == 400 and "is being cancelled. Cannot force complete" in message(answer)
    assert (written(), world.told, world.debts()) == (before, [], [(world.source, "stay on source")])


def test_an_abort_outlives_what_the_source_was_told(world: LiveWorld) -> None:
    """Who takes the operation up again does not send it to the other host once more."""
    world.begin()
    assert world.steer("DELETE").status_code == 202
    world.hosts.sent.clear()
    for letter in world.hosts.letters():
        world.hosts.withdraw(letter.envelope.key)
    world.hosts.replicas.clear()
    Replica(world.serving.db, world.hosts, registry=world.serving.cloud.runner._registry).begin().run()
    assert world.status() == ("ACTIVE", world.source, "cancelled")
    assert "StayGuest source" in world.names() and "MigrateGuest source" not in world.names()


def test_it_is_forced_to_its_end(world: LiveWorld) -> None:
    world.begin()
    assert world.steer("POST", "2.21", {"force_complete": None}).status_code == 404
    assert world.steer("POST", "2.22", {"force_complete": None}).status_code == 202
    assert world.told == [{"host": world.source, "server_id": world.id, "incarnation": 2}]
    assert world.steer("POST", body={"force_complete": 1}).status_code == 400


def test_a_source_that_does_not_answer(world: LiveWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    world.begin()
    assert world.demo("DELETE", world.one(), headers=NEWEST).status_code == 403

    def away(self: Questions, question: str, **told: Any) -> None:
        raise Unavailable("The agent does not answer.")

    monkeypatch.setattr(Questions, "tell", away)
    assert world.steer("POST", body={"force_complete": None}).status_code == 503
    assert world.steer("DELETE").status_code == 202, "the source is owed the word"
    assert world.debts() == [(world.source, "stay on source")]


def test_what_is_over_is_not_in_progress(world: LiveWorld) -> None:
    world.migrate()
    assert world.admin("GET", f"{SERVERS}/{world.id}/migrations", headers=NEWEST).json == {"migrations": []}
    assert "not in progress" in world.steer("GET").text
    world.resize()
    assert "not live-migration" in world.steer("GET").text
