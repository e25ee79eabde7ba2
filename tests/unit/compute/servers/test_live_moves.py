"""Live migration: what clients see, what is claimed, what is taken back, and when nothing is."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from pileus import clock
from pileus.agent.commands import ArriveGuest, AwaitGuest, DepartGuest, DiscardGuest, MigrateGuest, Progress, StayGuest
from pileus.compute import live_moves
from pileus.compute.model import UP_FOR_S
from pileus.db import utcnow
from pileus.membership.model import Agent
from pileus.network import server_ports
from pileus.operations import live
from pileus.operations.notifications import Notification
from tests.unit.compute.servers.live_world import ANY, LiveWorld, Result, world
from tests.unit.compute.servers.world import NEWEST, REFUSED, SERVERS
from tests.unit.operations.world import FakeClock

__all__ = ["world"]


def test_a_server_is_migrated_as_it_runs(world: LiveWorld) -> None:
    world.migrate()
    assert world.status() == ("ACTIVE", world.other, "completed")
    assert world.commands() == [
        ("DepartGuest", world.source, 2),
        ("AwaitGuest", world.other, 3),
        ("MigrateGuest", world.source, 2),
        ("ArriveGuest", world.other, 3),
        ("DiscardGuest", world.source, 2),
    ]
    assert world.claims() == {world.id: ("INSTANCE", world.other, 192)} and world.row().incarnation == 3
    assert world.ports() == (world.other, "", "ACTIVE")
    move = world.migration()
    assert (move.type, move.source_host, move.dest_host) == ("live-migration", world.source, world.other)
    with world.serving.db.read() as session:
        told = [row.event_type for row in session.scalars(select(Notification).order_by(Notification.id))]
    assert [name for name in told if "live" in name] == [
        "instance.live_migration_pre.start", "instance.live_migration_pre.end",
        "instance.live_migration_post.start", "instance.live_migration_post_dest.start",
        "instance.live_migration_post_dest.end", "instance.live_migration_post.end",
    ]  # fmt: skip


def test_what_is_seen_meanwhile(world: LiveWorld) -> None:
    world.begin()
    shown = world.show(world.admin)
    assert (shown["OS-EXT-STS:vm_state"], shown["OS-EXT-STS:task_state"]) == ("active", "migrating")
    assert world.ports() == (world.source, world.other, "ACTIVE")
    kinds = {consumer: (kind, host) for consumer, (kind, host, _) in world.claims().items()}
    assert kinds == {
        world.id: ("INSTANCE", world.other), world.migration().uuid: ("MIGRATION", world.source)
    }  # fmt: skip
    with world.serving.db.write() as session:
        (operation,) = live(session, world.id)
        for stage, done in (("migrate memory", 30), ("migrate disk", 7)):
            live_moves.show_progress(session, Progress(key=f"{operation.id}:x", stage=stage, done=done, total=100))
    (one,) = world.admin("GET", f"{SERVERS}/{world.id}/migrations", headers=NEWEST).json["migrations"]
    assert one == world.steer("GET").json["migration"]
    assert {name: value for name, value in one.items() if name.endswith("_bytes")} == {
        "memory_total_bytes": 100, "memory_processed_bytes": 30, "memory_remaining_bytes": 70,
        "disk_total_bytes": 100, "disk_processed_bytes": 7, "disk_remaining_bytes": 93,
    }  # fmt: skip
    assert (one["status"], one["source_compute"], one["dest_compute"]) == ("running", world.source, world.other)
    old = world.steer("GET", "2.23").json["migration"]
    assert one.keys() - old.keys() == {"uuid", "user_id", "project_id"}
    assert world.steer("GET", "2.22").status_code == 404


def test_each_host_is_told_by_which_keys_the_other_is_known(world: LiveWorld) -> None:
    with world.serving.db.write() as session:
        for name in (world.source, world.other):
            made = Agent(name=name, hosts=name, address=f"{name}:1", public_key=name, created_at=utcnow())
            session.add(made)
        made.next_key = "next"
    world.migrate()
    told = {type(one.command): one.command for one in world.hosts.sent}
    depart, awaits, migrate = told[DepartGuest], told[AwaitGuest], told[MigrateGuest]
    assert isinstance(depart, DepartGuest) and depart.keys == (world.other, "next")
    assert isinstance(awaits, AwaitGuest) and (awaits.address, awaits.keys) == (f"{world.source}:1", (world.source,))
    assert isinstance(migrate, MigrateGuest) and migrate.keys == (world.other, "next")


@pytest.mark.parametrize("kind", [DepartGuest, AwaitGuest, MigrateGuest])
def test_what_fails_leaves_the_server_where_it_is(world: LiveWorld, kind: type) -> None:
    world.results[kind] = REFUSED
    world.migrate()
    assert world.status() == ("ACTIVE", world.source, "error")
    assert world.claims() == {world.id: ("INSTANCE", world.source, 192)}
    assert world.ports() == (world.source, "", "ACTIVE") and world.debts() == []
    names = world.names()
    assert names[-1] == "StayGuest source", "it is let run last"
    assert ("DiscardGuest dest" in names) == (kind != DepartGuest)
    assert "DiscardGuest source" not in names and "ArriveGuest dest" not in names
    world.results[kind] = {}
    if kind is not MigrateGuest:
        world.results[kind] = {"power_state": 1, "block": True}
    world.migrate()
    assert world.status() == ("ACTIVE", world.other, "completed")


def test_a_source_that_has_the_guest_no_more_has_given_it(world: LiveWorld) -> None:
    """Its answer was lost, or it could not tell."""
    world.results |= {MigrateGuest: REFUSED, StayGuest: {"here": False}}
    world.migrate()
    assert world.status() == ("ACTIVE", world.other, "completed")
    assert world.names()[-3:] == ["StayGuest source", "ArriveGuest dest", "DiscardGuest source"]


@pytest.mark.parametrize(
    ("found", "where"),
    [({"complete": True, "power_state": 1}, "completed"), ({"complete": False}, "error")],
    ids=["it runs there", "it never came"],
)
def test_a_source_that_does_not_answer_is_decided_without(world: LiveWorld, found: Result, where: str) -> None:
    world.results |= {MigrateGuest: REFUSED, StayGuest: REFUSED, ArriveGuest: found}
    world.migrate()
    assert world.status()[2] == where
    assert world.row().host == (world.other if where == "completed" else world.source)
    stays = [(host, name) for host, name in world.debts()]
    assert stays == ([] if where == "completed" else [(world.source, "stay on source")])


def test_what_nobody_knows_is_waited_for(world: LiveWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it is there, held, and the source may still have it: it is neither let run nor removed."""
    world.results |= {MigrateGuest: REFUSED, StayGuest: REFUSED, ArriveGuest: {"complete": True, "power_state": 3}}
    fake_clock = FakeClock(world.serving.db)
    monkeypatch.setattr(clock, "current", fake_clock)
    world.migrate()
    assert world.status() == ("MIGRATING", world.source, "running")
    assert "DiscardGuest dest" not in world.names()
    runs = [one.command.run for one in world.hosts.sent if isinstance(one.command, ArriveGuest)]
    assert set(runs) == {False}
    world.results |= {StayGuest: {"here": True, "power_state": 1}}
    world.wait(fake_clock)
    assert world.status() == ("ACTIVE", world.source, "error")


def test_a_source_that_is_forced_down_has_the_guest_no_more(world: LiveWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it is there, and an administrator says that the source is dead: nothing is waited for."""
    world.results |= {MigrateGuest: REFUSED, StayGuest: REFUSED, DiscardGuest: REFUSED}
    world.results |= {ArriveGuest: {"complete": True, "power_state": 3}}
    fake_clock = FakeClock(world.serving.db)
    monkeypatch.setattr(clock, "current", fake_clock)
    world.migrate()
    assert world.status()[0] == "MIGRATING"
    world.change(world.source, forced_down=True)
    world.wait(fake_clock)
    assert world.status() == ("ACTIVE", world.other, "completed")
    assert [one.command.run for one in world.hosts.sent if isinstance(one.command, ArriveGuest)][-1] is True
    assert world.debts() == [(world.source, "discard guest")]


def test_hosts_that_are_down_are_not_asked(world: LiveWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    world.results |= {MigrateGuest: REFUSED, StayGuest: REFUSED, ArriveGuest: {"complete": True, "power_state": 3}}
    fake_clock = FakeClock(world.serving.db)
    monkeypatch.setattr(clock, "current", fake_clock)
    world.migrate()
    world.hosts.sent.clear()
    fake_clock.move(UP_FOR_S + 1)
    world.replica.run_over(fake_clock, 60.0)
    assert world.hosts.sent == [] and world.status() == ("MIGRATING", world.source, "running")
    world.results |= {StayGuest: {"here": True, "power_state": 1}}
    world.wait(fake_clock)
    assert world.status() == ("ACTIVE", world.source, "error")


def test_a_destination_that_does_not_answer_afterwards_is_owed_the_word(world: LiveWorld) -> None:
    world.results |= {ArriveGuest: REFUSED, DiscardGuest: REFUSED}
    world.migrate()
    assert world.status() == ("ACTIVE", world.other, "completed")
    assert sorted(world.debts()) == sorted([(world.other, "arrive on destination"), (world.source, "discard guest")])


def test_a_defect_after_the_guest_left_destroys_nothing(world: LiveWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ValueError("a defect")

    monkeypatch.setattr(server_ports, "bind_all", broken)
    world.migrate()
    assert world.names()[-1] == "MigrateGuest source", "its only copy is not discarded"
    assert world.status() == ("ERROR", world.other, "running")
    monkeypatch.undo()
    world.done("reboot", {"type": "HARD"})
    assert world.names()[-1] == "RebootGuest dest", "none is started on the source"
    world.done("forceDelete")
    assert {"DiscardGuest dest", "DiscardGuest source"} <= set(world.names()) and world.claims() == {}
    gone = [one.command for one in world.hosts.sent if isinstance(one.command, DiscardGuest)]
    assert {one.incarnation for one in gone} == {3}, "that of the guest on the destination, and older ones"


@pytest.mark.parametrize("block", [True, False])
def test_the_source_leaves_a_disk_that_the_guest_has_still(world: LiveWorld, block: bool) -> None:
    """Of storage that both share the source may not have heard that the guest is gone: its answer was lost."""
    world.results |= {
        AwaitGuest: {"block": block}, MigrateGuest: REFUSED, StayGuest: {"here": False}, ArriveGuest: REFUSED,
        DiscardGuest: REFUSED,
    }  # fmt: skip
    world.migrate()
    assert world.status() == ("ACTIVE", world.other, "completed")
    world.hosts.sent.clear()
    world.results |= {ArriveGuest: {"complete": True, "power_state": 1}, DiscardGuest: {}}
    world.pay()
    discards = [one.command for one in world.hosts.sent if isinstance(one.command, DiscardGuest)]
    assert [(one.incarnation, one.to) for one in discards] == [(2, "" if block else world.other)]
    assert world.debts() == []


def test_delete_wins(world: LiveWorld) -> None:
    world.begin()
    world.hosts.sent.clear()
    assert world.demo("DELETE", f"{SERVERS}/{world.id}").status_code == 204
    world.replica.run()
    assert world.demo("GET", f"{SERVERS}/{world.id}").status_code == 404
    assert {"DiscardGuest dest", "DiscardGuest source", "StayGuest source"} <= set(world.names())
    assert world.claims() == {} and world.debts() == []


def test_a_server_that_stopped_on_its_way_is_off(world: LiveWorld) -> None:
    world.results[ArriveGuest] = {"complete": True, "power_state": 4}
    world.migrate()
    assert world.status() == ("SHUTOFF", world.other, "completed")


def test_a_held_server_stays_held(world: LiveWorld) -> None:
    world.done("pause")
    world.results |= {DepartGuest: {"power_state": 3}, ArriveGuest: {"complete": True, "power_state": 3}}
    world.migrate()
    assert world.status() == ("PAUSED", world.other, "completed")
    assert {one.command.run for one in world.hosts.sent if isinstance(one.command, (MigrateGuest, ArriveGuest))} == {
        False
    }


def test_a_guest_that_was_left_held_is_let_run(world: LiveWorld) -> None:
    """The source was asked, and had not let it run again when the next move began: nobody waits for that any more."""
    world.results |= {DepartGuest: {"power_state": 3, "disks": [], "virt_type": "kvm"}}
    world.migrate()
    (migrate,) = (one.command for one in world.hosts.sent if isinstance(one.command, MigrateGuest))
    (arrive,) = (one.command for one in world.hosts.sent if isinstance(one.command, ArriveGuest))
    assert migrate.run and arrive.run and world.status() == ("ACTIVE", world.other, "completed")


def test_no_move_begins_while_the_source_is_to_let_it_run(world: LiveWorld) -> None:
    world.results |= {MigrateGuest: REFUSED, StayGuest: REFUSED, ArriveGuest: {"complete": False}}
    world.migrate()
    assert world.debts() == [(world.source, "stay on source")]
    for key, value in (("os-migrateLive", ANY), ("migrate", None)):
        assert world.act(key, value, world.admin).status_code == 409
    world.results[StayGuest] = {"here": True, "power_state": 1}
    world.hosts.sent.clear()
    world.pay()
    (stay,) = (one.command for one in world.hosts.sent)
    assert isinstance(stay, StayGuest) and stay.run and world.debts() == []
    assert world.act("os-migrateLive", ANY, world.admin).status_code == 202


def test_what_is_owed_to_the_destination_does_not_undo_a_pause(world: LiveWorld) -> None:
    world.results[ArriveGuest] = REFUSED
    world.migrate()
    assert world.debts() == [(world.other, "arrive on destination")]
    assert world.act("os-migrateLive", ANY, world.admin).status_code == 409
    world.done("pause")
    world.results[ArriveGuest] = {"complete": True, "power_state": 3}
    world.hosts.sent.clear()
    world.pay()
    (arrive,) = (one.command for one in world.hosts.sent)
    assert isinstance(arrive, ArriveGuest) and not arrive.run and world.show()["status"] == "PAUSED"
    assert world.debts() == []
