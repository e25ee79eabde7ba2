"""Live migration: what clients see, what is claimed, what is taken back, and when nothing is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select

from pileus import clock
from pileus.agent.commands import (
    Answer,
    ArriveGuest,
    AwaitGuest,
    DepartGuest,
    DiscardGuest,
    Envelope,
    Failure,
    MigrateGuest,
    Progress,
    StayGuest,
)
from pileus.compute import hosts, live_moves
from pileus.compute.actions.live_migrate import SELDOM_S
from pileus.compute.model import UP_FOR_S, Host
from pileus.db import utcnow
from pileus.errors import Unavailable
from pileus.membership.model import Agent
from pileus.network import server_ports
from pileus.network.model import Port
from pileus.operations import live
from pileus.operations.agents import Questions
from pileus.operations.notifications import Notification
from pileus.placement import allocations
from tests.client import Client
from tests.unit.compute.servers.test_moves import NEWEST, REFUSED, SERVERS, World
from tests.unit.operations.world import FakeClock, Replica
from tests.unit.serving import Serving

ANY = {"host": None, "block_migration": "auto"}
OLD = {"host": None, "block_migration": True, "disk_over_commit": False}
Result = dict[str, Any]


class LiveWorld(World):
    """As World; hosts answer as the test says."""

    def __init__(self, serving: Serving, admin: Client, demo: Client, boot: Callable[..., str]) -> None:
        super().__init__(serving, admin, demo, boot)
        self.results: dict[type, Result | Failure | None] = {
            DepartGuest: {"power_state": 1, "disks": [], "virt_type": "kvm"},
            AwaitGuest: {"block": True, "directory": "/x"},
            StayGuest: {"here": True, "power_state": 1},
            ArriveGuest: {"complete": True, "power_state": 1},
        }
        """What commands come to: None: nothing yet."""
        self.hosts.answer = self._answer  # type: ignore[method-assign]
        self.told: list[Result] = []

    def _answer(self, envelope: Envelope, failure: Failure | None = None) -> None:
        result = self.results.get(type(envelope.command), {"power_state": 1})
        if result is None:
            return
        self.hosts.withdraw(envelope.key)
        failed = result if isinstance(result, Failure) else failure
        said = {} if failed or isinstance(result, Failure) else result
        answer = Answer(key=envelope.key, host=envelope.host, result=said, failure=failed, at=clock.time())
        for replica in self.hosts.replicas:
            replica.answer(answer)

    def migrate(self, **body: Any) -> None:
        self.done("os-migrateLive", ANY | body, self.admin)

    def status(self) -> tuple[str, str, str]:
        """The server's status, where it is, and the move's status."""
        shown = self.show(self.admin)
        return shown["status"], shown["OS-EXT-SRV-ATTR:host"], self.migration().status

    def names(self) -> list[str]:
        return [f"{name} {'source' if host == self.source else 'dest'}" for name, host, _ in self.commands()]

    def ports(self) -> tuple[str, str, str]:
        with self.serving.db.read() as session:
            port = session.scalars(select(Port).where(Port.server_id == self.id)).one()
            return port.host, port.next_host, port.status

    def begin(self) -> None:
        """One that is under way, of which the source has said nothing yet."""
        self.results[MigrateGuest] = None
        self.migrate()
        assert self.status() == ("MIGRATING", self.source, "running")

    def end(self, kind: type, result: Result | Failure) -> None:
        """The command of this kind that is under way comes to this."""
        (letter,) = (one for one in self.hosts.letters() if isinstance(one.envelope.command, kind))
        self.results[kind] = result
        self._answer(letter.envelope)
        self.replica.run()

    def wait(self, fake_clock: FakeClock, seconds: float = SELDOM_S) -> None:
        """Until hosts, which are heard of, are asked again, or for so long."""
        fake_clock.move(seconds)
        with self.serving.db.write() as session:
            hosts.heard_of(session, [self.source, self.other])
        self.replica.run()

    def change_other(self, **values: bool) -> None:
        """The other host is disabled, or forced down."""
        self.change(self.other, **values)

    def change(self, name: str, **values: bool) -> None:
        with self.serving.db.write() as session:
            host = session.get_one(Host, name)
            allocations.move_on(session, [host.provider_id])
            for name, value in values.items():
                setattr(host, name, value)

    def one(self, suffix: str = "") -> str:
        return f"{SERVERS}/{self.id}/migrations/{self.migration().id}{suffix}"

    def steer(self, method: str, version: str = "2.104", body: Any = None) -> Any:
        headers = {"OpenStack-API-Version": f"compute {version}"}
        suffix = "/action" if body is not None else ""
        return self.admin(method, self.one(suffix), json=body, headers=headers)


@pytest.fixture
def world(
    serving: Serving, admin: Client, demo: Client, boot: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> LiveWorld:
    world = LiveWorld(serving, admin, demo, boot)
    monkeypatch.setattr(Questions, "tell", lambda self, question, **told: world.told.append(told) or {})
    return world


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
    assert world.steer("DELETE", "2.64").status_code == 400
    assert world.steer("POST", body={"force_complete": None}).status_code == 400
    assert world.steer("DELETE", "2.65").status_code == 202
    assert world.debts() == [(world.other, "discard guest")], "what it prepares may take hours, and ends for this"
    world.end(AwaitGuest, {"block": True})
    assert world.status() == ("ACTIVE", world.source, "cancelled") and world.debts() == []
    discards = [one.command for one in world.hosts.sent if isinstance(one.command, DiscardGuest)]
    assert {(one.incarnation, one.stash) for one in discards} == {(3, False)}


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
    assert [one["wanted"] for one in world.told] == ["live_migration_force_complete"]
    assert world.steer("POST", body={"force_complete": 1}).status_code == 400


def test_what_is_not_there_is_not_steered(world: LiveWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    world.begin()
    for number in ("99999", "none", "9" * 30):
        path = f"{SERVERS}/{world.id}/migrations/{number}"
        assert world.admin("GET", path, headers=NEWEST).status_code == 404
        assert world.admin("DELETE", path, headers=NEWEST).status_code == 404
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


# --- what is asked for ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "body", "status"),
    [
        ("2.1", OLD, 202),
        ("2.24", OLD | {"block_migration": "auto"}, 400),
        ("2.24", ANY, 400),
        ("2.25", OLD, 400),
        ("2.25", ANY, 202),
        ("2.29", ANY | {"force": False}, 400),
        ("2.30", ANY | {"force": "no"}, 202),
        ("2.30", ANY | {"force": True}, 400),
        ("2.67", ANY | {"force": "yes"}, 400),
        ("2.67", ANY | {"block_migration": "Yes"}, 202),
        ("2.67", ANY | {"block_migration": "Auto"}, 400),
        ("2.68", ANY | {"force": True}, 400),
        ("2.104", {"host": None}, 400),
        ("2.104", {"block_migration": True}, 400),
        ("2.104", ANY | {"host": "n o"}, 400),
    ],
)
def test_bodies(world: LiveWorld, version: str, body: Any, status: int) -> None:
    headers = {"OpenStack-API-Version": f"compute {version}"}
    path = f"{SERVERS}/{world.id}/action"
    assert world.admin("POST", path, json={"os-migrateLive": body}, headers=headers).status_code == status


def test_hosts_that_are_asked_for(world: LiveWorld) -> None:
    def ask(host: str | None, version: str, user: Client | None = None) -> Any:
        headers = {"OpenStack-API-Version": f"compute {version}"}
        body = (ANY if version != "2.1" else OLD) | {"host": host}
        return (user or world.admin)(
            "POST", f"{SERVERS}/{world.id}/action", json={"os-migrateLive": body}, headers=headers
        )

    assert ask(None, "2.104", world.demo).status_code == 403
    for version in ("2.1", "2.104"):
        assert "could not be found" in ask("nowhere", version).text
    assert "to current host" in ask(world.source, "2.1").text
    world.change_other(forced_down=True)
    assert "unavailable" in ask(world.other, "2.1").text and "No valid host" in ask(None, "2.1").text
    assert ask(world.other, "2.34").status_code == 202
    world.replica.run()
    assert world.status() == ("ACTIVE", world.source, "error")


@pytest.mark.parametrize("version", ["2.1", "2.24", "2.33"])
def test_who_names_no_host_reads_of_none(world: LiveWorld, version: str) -> None:
    """A project's manager may migrate its servers, and does not see where they are."""
    world.change(world.source, forced_down=True)
    headers = {"OpenStack-API-Version": f"compute {version}"}
    body = OLD if version != "2.33" else ANY
    answer = world.admin("POST", f"{SERVERS}/{world.id}/action", json={"os-migrateLive": body}, headers=headers)
    assert answer.status_code == 400 and "Compute service of #1 is unavailable" in answer.text
    assert world.source not in answer.text


@pytest.mark.parametrize(
    ("version", "said", "where"),
    [("2.29", {}, "completed"), ("2.30", {"force": True}, "completed"), ("2.30", {}, "error"), ("2.68", {}, "error")],
)
def test_a_host_that_is_forced_is_not_judged(world: LiveWorld, version: str, said: Result, where: str) -> None:
    """Before 2.30 whoever names a host forces it."""
    world.change_other(disabled=True)
    headers = {"OpenStack-API-Version": f"compute {version}"}
    body = ANY | {"host": world.other} | said
    path = f"{SERVERS}/{world.id}/action"
    assert world.admin("POST", path, json={"os-migrateLive": body}, headers=headers).status_code == 202
    world.replica.run()
    assert world.status()[2] == where


@pytest.mark.parametrize(("asked", "block"), [("auto", None), (True, True), ("False", False)])
def test_whether_disks_are_copied(world: LiveWorld, asked: Any, block: bool | None) -> None:
    world.migrate(block_migration=asked)
    (awaited,) = (one.command for one in world.hosts.sent if isinstance(one.command, AwaitGuest))
    assert awaited.block is block and awaited.guest.incarnation == 3


def test_a_held_server_stays_held(world: LiveWorld) -> None:
    world.done("pause")
    world.results |= {DepartGuest: {"power_state": 3}, ArriveGuest: {"complete": True, "power_state": 3}}
    world.migrate()
    assert world.status() == ("PAUSED", world.other, "completed")
    assert {one.command.run for one in world.hosts.sent if isinstance(one.command, (MigrateGuest, ArriveGuest))} == {
        False
    }


def test_how_long_it_may_take(world: LiveWorld) -> None:
    world.serving.settings.live_migration_completion_timeout = 10.0
    world.serving.settings.live_migration_timeout_action = "force_complete"
    world.migrate()
    (command,) = (one.command for one in world.hosts.sent if isinstance(one.command, MigrateGuest))
    assert (command.timeout_s, command.force) == (20.0, True)


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
