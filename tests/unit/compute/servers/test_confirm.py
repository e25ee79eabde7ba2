"""What ends a resize or cold migration: it is confirmed or reverted, its state is reset, or its time is up."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from pileus import clock
from pileus.agent.commands import AgentReport, DiscardGuest, DropStash, Failure, GuestReport, RestoreGuest
from pileus.clock import utcnow
from pileus.compute import hosts
from pileus.compute.actions.confirm import confirm_due
from pileus.compute.migration_model import Migration
from pileus.compute.model import UnknownGuest
from pileus.operations import debts
from pileus.operations.model import DebtRow
from tests.unit.compute.servers.world import SERVERS, World, reported


def test_a_source_that_is_down_is_left_behind_when_it_is_confirmed(world: World) -> None:
    world.resize()
    world.hosts.automatic = lambda envelope: Failure(code="host-down", message="away")
    world.done("confirmResize")
    assert world.show()["status"] == "ACTIVE" and world.migration().status == "confirmed"
    assert world.debts() == [(world.source, "drop stash")]
    assert world.claims().keys() == {world.id}


def test_confirming_that_failed_can_only_be_asked_for_again(world: World) -> None:
    world.resize()
    world.refuse(DropStash)
    world.done("confirmResize")
    assert world.show()["status"] == "VERIFY_RESIZE" and world.act("revertResize").status_code == 400
    world.hosts.automatic = lambda envelope: None
    world.done("confirmResize")
    assert world.show()["status"] == "ACTIVE"


def test_reverting_that_failed_can_only_be_asked_for_again(world: World) -> None:
    world.resize()
    world.refuse(RestoreGuest)
    world.done("revertResize")
    assert world.show()["status"] == "VERIFY_RESIZE" and world.act("confirmResize").status_code == 400
    world.hosts.automatic = lambda envelope: None
    world.done("revertResize")
    assert world.show()["status"] == "ACTIVE" and world.row().host == world.source
    assert world.claims() == {world.id: ("INSTANCE", world.source, 192)}


def test_nothing_is_reverted_while_the_source_is_away(world: World) -> None:
    world.resize()
    world.force_down(world.source, True)
    world.done("revertResize")
    assert world.commands() == [] and world.show()["status"] == "VERIFY_RESIZE"
    world.done("confirmResize")
    assert world.show()["status"] == "ACTIVE"


@pytest.mark.parametrize("state", ["active", "error"])
def test_a_state_that_was_reset_settles_the_move(world: World, state: str) -> None:
    """It can be neither confirmed nor reverted any more: what it holds is freed."""
    world.resize()
    world.act("os-resetState", {"state": state}, world.admin)
    answer = world.act("reboot", {"type": "HARD"})
    assert answer.status_code == 409, "not before it is settled which of two hosts has the guest"
    world.hosts.sent.clear()
    world.pay()
    assert world.commands() == [("DropStash", world.source, 2)] and world.debts() == []
    assert world.migration().status == "confirmed" and world.used() == (1, 256)
    assert world.claims() == {world.id: ("INSTANCE", world.other, 256)}
    world.done("reboot", {"type": "HARD"})
    world.done("migrate", user=world.admin)
    assert world.show()["status"] == "VERIFY_RESIZE"


def test_a_state_that_was_reset_settles_nothing_while_the_servers_host_is_away(world: World) -> None:
    """What is set aside on the source may be all that is left."""
    world.resize()
    world.hosts.sent.clear()
    world.force_down(world.other, True)
    world.act("os-resetState", {"state": "error"}, world.admin)
    world.pay()
    assert world.commands() == [] and world.migration().status == "finished"
    world.force_down(world.other, False)
    world.pay()
    assert world.commands() == [("DropStash", world.source, 2)] and world.migration().status == "confirmed"


@pytest.mark.parametrize("silent", [RestoreGuest, DiscardGuest])
def test_a_state_that_was_reset_amid_a_revert_reverts_the_move(world: World, silent: type) -> None:
    """The destination's guest may be gone: what is set aside is all that there is, and is not dropped by a move."""
    world.resize()
    world.refuse(silent, failure=Failure(code="host-down", message="away"))
    world.done("revertResize")
    assert world.migration().status == "reverting"
    world.act("os-resetState", {"state": "active"}, world.admin)
    assert world.act("migrate", user=world.admin).status_code == 409
    world.pay()
    assert world.row().host == world.source and world.migration().status == "reverted"
    assert world.claims() == {world.id: ("INSTANCE", world.source, 192)} and world.used() == (1, 192)
    assert world.port()[0] == world.source
    assert world.act("migrate", user=world.admin).status_code == 409, "the source still owes the guest"
    world.hosts.automatic = lambda envelope: None
    world.pay()
    assert world.debts() == [] and ("DropStash", world.source, 2) not in world.commands()
    restores = [one.command for one in world.hosts.sent if isinstance(one.command, RestoreGuest)]
    assert restores[-1].age == 4 and restores[-1].run == (silent is RestoreGuest), "only once the other is gone"
    world.done("migrate", user=world.admin)
    assert world.commands()[:2] == [("StashGuest", world.source, 5), ("ReceiveGuest", world.other, 6)]


def test_what_was_to_be_restored_is_not_dropped_by_a_move(world: World) -> None:
    """Though the debt that was to settle it was written off."""
    world.resize()
    world.refuse(RestoreGuest)
    world.done("revertResize")
    world.act("os-resetState", {"state": "active"}, world.admin)
    with world.serving.db.write() as session:
        for row in session.scalars(select(DebtRow)):
            debts.forget(session, row.id)
    world.done("migrate", user=world.admin)
    assert "DropStash" not in [name for name, _, _ in world.commands()]


# --- by itself, and what hosts report -------------------------------------------------------------------------------


def test_what_waits_too_long_is_confirmed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.resize()
    assert confirm_due(world.serving.db, 0) == confirm_due(world.serving.db, 60) == 0
    with world.serving.db.write() as session:
        session.scalars(select(Migration)).one().updated_at = clock.utcnow().replace(year=2020)
    assert confirm_due(world.serving.db, 60) == 1
    assert confirm_due(world.serving.db, 60) == 0, "another replica does so already"
    world.replica.run()
    assert world.show()["status"] == "ACTIVE" and confirm_due(world.serving.db, 60) == 0
    actions = world.demo("GET", f"{SERVERS}/{world.id}/os-instance-actions").json["instanceActions"]
    assert [one["action"] for one in actions] == ["confirmResize", "resize", "create"]


def test_nothing_is_confirmed_by_itself_while_the_servers_host_is_away(world: World) -> None:
    """What is set aside on the source may be all that is left."""
    world.resize()
    with world.serving.db.write() as session:
        session.scalars(select(Migration)).one().updated_at = utcnow().replace(year=2020)
    world.force_down(world.other, True)
    assert confirm_due(world.serving.db, 60) == 0
    world.force_down(world.other, False)
    assert confirm_due(world.serving.db, 60) == 1


def test_what_is_set_aside_is_accounted_for(world: World) -> None:
    world.resize()

    def report() -> list[str]:
        left = GuestReport(server_id=world.id, power_state=None, incarnation=2)
        there = GuestReport(server_id=world.id, power_state=1, incarnation=3)
        told = {world.source: (left,), world.other: (there,)}
        hosts_of = reported(2)
        told_hosts = tuple(
            type(one)(**{name: getattr(one, name) for name in one.__struct_fields__} | {"guests": told[one.name]})
            for one in hosts_of.hosts
        )
        with world.serving.db.write() as session:
            later = utcnow().replace(year=2100)
            hosts.register(session, AgentReport(started=0.0, network="fake", hosts=told_hosts), later)
        with world.serving.db.read() as session:
            return [row.host for row in session.scalars(select(UnknownGuest))]

    assert report() == []
    world.done("confirmResize")
    assert report() == [world.source]
