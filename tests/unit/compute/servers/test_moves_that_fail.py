"""Resize and cold migration that come to nothing: what is taken back, and what must not begin before that is done."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select

from pileus.agent.commands import DiscardGuest, Failure, ReceiveGuest, RestoreGuest, StashGuest, UpdateInstanceData
from pileus.compute.model import Server
from pileus.operations import debts
from pileus.operations.model import DebtRow
from tests.unit.compute.servers.world import SERVERS, World

MOVES: dict[str, Any] = {
    "resize": {"flavorRef": "84"},
    "migrate": None,
    "os-migrateLive": {"host": None, "block_migration": "auto"},
}
UNSUPPORTED = Failure(code="unsupported", message="The agent of host h does not know the command.")


def test_a_destination_that_refuses_gives_the_server_back(world: World) -> None:
    world.refuse(ReceiveGuest)
    world.resize()
    assert world.commands() == [
        ("StashGuest", world.source, 2),
        ("ReceiveGuest", world.other, 3),
        ("DiscardGuest", world.other, 3),
        ("RestoreGuest", world.source, 4),
    ]
    discard, restore = (one.command for one in world.hosts.sent[2:])
    assert isinstance(discard, DiscardGuest) and not discard.stash
    assert isinstance(restore, RestoreGuest) and restore.run and restore.guest.memory_mib == 192
    assert world.show()["status"] == "ACTIVE" and world.show()["flavor"]["original_name"] == "m1.nano"
    assert world.port() == (world.source, "ACTIVE") and world.used() == (1, 192)
    assert world.claims() == {world.id: ("INSTANCE", world.source, 192)}
    assert world.migration().status == "error" and "the host is not well" in world.fault()
    world.hosts.automatic = lambda envelope: None
    world.resize()
    assert world.commands() == [("StashGuest", world.source, 5), ("ReceiveGuest", world.other, 6)]


def test_the_source_does_not_run_while_the_destination_may(world: World) -> None:
    world.refuse(ReceiveGuest, DiscardGuest)
    world.resize()
    (restore,) = (one.command for one in world.hosts.sent if isinstance(one.command, RestoreGuest))
    assert not restore.run
    assert world.debts() == [(world.other, "discard guest")] and world.row().host == world.source


STARTS: list[tuple[str, str, Any]] = [
    ("active", "reboot", {"type": "HARD"}),
    ("active", "reboot", {"type": "SOFT"}),
    ("active", "shelve", None),
    ("stopped", "os-start", None),
    ("paused", "unpause", None),
    ("suspended", "resume", None),
    ("shelved", "unshelve", None),
    ("error", "reboot", {"type": "HARD"}),
    ("error", "rebuild", {}),
    ("active", "migrate", None),
    ("stopped", "resize", {"flavorRef": "84"}),
    ("active", "os-migrateLive", {"host": None, "block_migration": "auto"}),
]
"""What may start a guest, and a state that allows it."""


def test_nothing_starts_the_source_while_the_destination_may_run(world: World) -> None:
    world.refuse(ReceiveGuest, DiscardGuest)
    world.resize()
    assert world.debts() == [(world.other, "discard guest")]
    world.hosts.sent.clear()
    for state, key, value in STARTS:
        with world.serving.db.write() as session:
            server = session.get_one(Server, world.id)
            server.vm_state = state
            if key == "rebuild":
                value = {"imageRef": server.image_id}
        answer = world.act(key, value, world.admin)
        why = "has not ended yet" if key in MOVES else "may still run elsewhere"
        assert answer.status_code == 409 and why in answer.text, (key, answer.text)
    world.replica.run()
    assert not {name for name, _, _ in world.commands()} - {"DiscardGuest"}
    world.hosts.automatic = lambda envelope: None
    world.pay()
    assert world.debts() == []
    world.done("reboot", {"type": "HARD"})
    assert world.commands() == [("RebootGuest", world.source, 4)] and world.show()["status"] == "ACTIVE"


def test_a_debt_that_is_written_off_is_in_nobodys_way(world: World) -> None:
    world.refuse(ReceiveGuest, DiscardGuest)
    world.resize()
    assert world.act("reboot", {"type": "HARD"}).status_code == 409
    with world.serving.db.write() as session:
        for row in session.scalars(select(DebtRow).where(DebtRow.host == world.other)):
            debts.forget(session, row.id)
    world.done("reboot", {"type": "HARD"})
    assert world.show()["status"] == "ACTIVE"


@pytest.mark.parametrize("key", MOVES)
def test_no_move_begins_while_the_source_owes_the_guest_back(world: World, key: str) -> None:
    """It would strike out the restoration, and nobody would take the guest back."""
    world.refuse(ReceiveGuest, RestoreGuest)
    world.resize()
    assert world.debts() == [(world.source, "restore guest")]
    answer = world.act(key, MOVES[key], world.admin)
    assert answer.status_code == 409 and "has not ended yet" in answer.text
    world.hosts.automatic = lambda envelope: None
    world.hosts.sent.clear()
    world.pay()
    assert world.commands() == [("RestoreGuest", world.source, 4)] and world.debts() == []
    assert world.act(key, MOVES[key], world.admin).status_code == 202


def test_a_source_that_refuses_owes_the_guest_back(world: World) -> None:
    world.refuse(StashGuest, RestoreGuest)
    world.resize()
    assert world.show()["status"] == "ACTIVE" and world.debts() == [(world.source, "restore guest")]
    assert world.row().incarnation == 2 and world.migration().status == "error"


def test_delete_of_a_resized_server_discards_both(world: World) -> None:
    world.resize()
    world.hosts.sent.clear()
    assert world.demo("DELETE", f"{SERVERS}/{world.id}").status_code == 204
    world.replica.run()
    assert world.commands() == [("DiscardGuest", world.other, 3), ("DiscardGuest", world.source, 3)]
    assert all(isinstance(one.command, DiscardGuest) and one.command.stash for one in world.hosts.sent)
    assert world.claims() == {} and world.used() == (0, 0) and world.migration().status == "confirmed"


def test_delete_while_it_is_resized_takes_that_back_first(world: World) -> None:
    world.hosts.automatic = None
    world.act("resize", {"flavorRef": "d3"})
    world.replica.run()
    world.demo("DELETE", f"{SERVERS}/{world.id}")
    world.hosts.automatic = lambda envelope: None
    world.replica.run()
    assert world.row().deleted_at is not None and world.claims() == {} and world.used() == (0, 0)
    assert world.migration().status == "error"


def test_a_destination_of_an_earlier_release_gets_nothing(world: World) -> None:
    """It does not know what it is told: the server is where and as it was, and nothing is owed."""
    world.refuse(ReceiveGuest, host=world.other, failure=UNSUPPORTED)
    world.resize()
    shown = world.show(world.admin)
    assert (shown["status"], shown["OS-EXT-STS:task_state"]) == ("ACTIVE", None)
    assert shown["OS-EXT-SRV-ATTR:host"] == world.source and world.migration().status == "error"
    assert "does not know the command" in world.fault() and world.debts() == []
    assert world.claims() == {world.id: ("INSTANCE", world.source, 192)}


def test_a_source_of_an_earlier_release_keeps_its_server(world: World) -> None:
    """It knows neither what it is told nor how that is taken back: the latter is owed until it is of this release."""
    world.refuse(StashGuest, RestoreGuest, host=world.source, failure=UNSUPPORTED)
    world.resize()
    assert world.show()["status"] == "ACTIVE" and world.debts() == [(world.source, "restore guest")]
    assert "does not know the command" in world.fault()
    world.refuse(host=world.source)
    world.done("reboot", {"type": "HARD"})
    assert world.commands()[0][:2] == ("RestoreGuest", world.source), "what is owed comes first"
    assert world.show()["status"] == "ACTIVE"


def test_what_is_new_is_told_by_what_reverts_a_move(world: World) -> None:
    """The destination may have removed its guest already, though it could not say so, and would refuse it for ever."""
    world.resize()
    world.refuse(DiscardGuest, UpdateInstanceData)
    world.done("revertResize")
    assert world.migration().status == "reverting"
    named = {"server": {"name": "new"}}
    assert world.demo("PUT", f"{SERVERS}/{world.id}", json=named).status_code == 200
    world.pay()
    assert world.debts() == []
    world.hosts.automatic = lambda envelope: None
    world.done("revertResize")
    [restore] = [one.command for one in world.hosts.sent if isinstance(one.command, RestoreGuest)]
    assert isinstance(restore, RestoreGuest) and restore.guest.data.name == "new"
