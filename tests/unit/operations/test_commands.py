"""Host commands: side by side, given up with hosts that are down, and owed where they cannot be taken back now."""

from __future__ import annotations

import pytest

from pileus.agent.commands import Failure
from pileus.db import Database, Session
from pileus.errors import Conflict
from pileus.operations import Asked, CommandError, Operation
from pileus.operations.debts import DATABASE, owe
from pileus.operations.runner import LATE_S, PATIENCE_S
from tests.unit.operations.world import (
    FakeClock,
    Hosts,
    Replica,
    begin,
    command,
    debts,
    effects,
    flow,
    note,
    recorded,
    row,
    steps,
    unnote,
)


def refuse(_session: Session) -> None:
    raise Conflict("not now")


def side_by_side(op: Operation) -> list[dict[str, object]]:
    return op.together(
        Asked("plug a", "a", command.owed(name="x"), command.owed(name="unplug")),
        Asked("plug b", "b", command.owed(name="x"), command.owed(name="unplug")),
        Asked("look", "a", command.owed(name="y")),
    )


def test_commands_side_by_side_are_under_way_together(db: Database, replica: Replica, hosts: Hosts) -> None:
    @flow("t.together")
    def together(op: Operation) -> None:
        results = side_by_side(op)
        op.step("after", note, " ".join(str(one["power_state"]) for one in results))

    hosts.automatic = None
    operation_id = begin(db, "t.together")
    replica.run()
    assert hosts.commands() == ["x@a", "x@b", "y@a"]
    for envelope in reversed(hosts.sent):
        assert effects(db) == []
        hosts.answer(envelope)
        replica.run()
    assert effects(db) == ["1 1 1"] and row(db, operation_id).state == "succeeded"
    assert steps(db, operation_id) == ["plug a finished", "plug b finished", "look finished", "after finished"]


def test_one_that_fails_beside_others_fails_all_when_all_are_answered(
    db: Database, replica: Replica, hosts: Hosts
) -> None:
    caught: list[str] = []

    @flow("t.together")
    def together(op: Operation) -> None:
        try:
            side_by_side(op)
        except CommandError as error:
            caught.append(error.code)
            raise

    hosts.automatic = None
    operation_id = begin(db, "t.together")
    replica.run()
    first, second, third = hosts.sent
    hosts.answer(second, Failure(code="broken", message="no"))
    replica.run()
    assert not caught and row(db, operation_id).state == "running"
    hosts.automatic = lambda envelope: None
    hosts.answer(first)
    hosts.answer(third)
    replica.run()
    assert set(caught) == {"broken"} and row(db, operation_id).error == {"code": "broken", "message": "no"}
    assert hosts.commands()[3:] == ["unplug@b", "unplug@a"], "last first, and also what failed half-way"
    outcomes = ["plug a finished", "plug b failed", "look finished", "-plug b finished", "-plug a finished"]
    assert steps(db, operation_id) == outcomes


def test_a_restart_asks_again_for_all_that_was_side_by_side(db: Database, hosts: Hosts) -> None:
    @flow("t.together")
    def together(op: Operation) -> None:
        side_by_side(op)

    hosts.automatic = None
    operation_id = begin(db, "t.together")
    Replica(db, hosts).begin().run()
    hosts.answer(hosts.sent[1])
    again = Replica(db, hosts).begin()
    again.run()
    assert hosts.commands()[3:] == ["x@a", "x@b", "y@a"]
    assert [one.key for one in hosts.sent[3:]] == [one.key for one in hosts.sent[:3]]
    assert {one.attempt for one in hosts.sent[3:]} == {2}
    for envelope in hosts.sent[3:]:
        hosts.answer(envelope)
    again.run()
    assert row(db, operation_id).state == "succeeded"


def test_a_host_that_is_down_is_answered_for(
    db: Database, replica: Replica, hosts: Hosts, fake_clock: FakeClock
) -> None:
    @flow("t.down")
    def down(op: Operation) -> None:
        op.step("one", note, "one", undo=unnote.owed(word="one"))
        op.command("build", "gone", command.owed(name="x"))

    hosts.away.add("gone")
    operation_id = begin(db, "t.down")
    replica.run()
    fake_clock.move(PATIENCE_S + 1)
    replica.runner.beat()
    replica.run()
    assert row(db, operation_id).finished_at is None, "an agent may be restarted: its host is not down at once"
    hosts.dead.add("gone")
    replica.runner.beat()
    replica.run()
    assert row(db, operation_id).error == {"code": "host-down", "message": "Host gone does not answer."}
    assert effects(db) == ["one", "undo one"] and hosts.posted() == []


def test_a_replica_that_has_just_begun_waits_for_agents_that_begin_with_it(
    db: Database, replica: Replica, hosts: Hosts, fake_clock: FakeClock
) -> None:
    @flow("t.begun")
    def begun(op: Operation) -> None:
        op.command("build", "h", command.owed(name="x"))

    hosts.automatic = None
    hosts.dead.add("h")
    operation_id = begin(db, "t.begun")
    replica.run()
    fake_clock.move(PATIENCE_S - 5)
    replica.runner.beat()
    replica.run()
    assert row(db, operation_id).finished_at is None
    hosts.dead.clear()
    hosts.answer(hosts.sent[0])
    replica.run()
    assert row(db, operation_id).state == "succeeded"


def test_others_wait_for_their_hosts_while_one_is_down(
    db: Database, replica: Replica, hosts: Hosts, fake_clock: FakeClock
) -> None:
    @flow("t.down")
    def down(op: Operation, host: str) -> None:
        op.command("build", host, command.owed(name=host))

    hosts.automatic = None
    ids = [begin(db, "t.down", host, host=host) for host in ("well", "gone")]
    replica.run()
    hosts.dead.add("gone")
    fake_clock.move(PATIENCE_S + 1)
    replica.runner.beat()
    replica.run()
    assert [row(db, one).state for one in ids] == ["running", "failed"] and hosts.posted() == ["well@well"]


def test_a_host_that_sits_on_a_command_is_given_up_long_after_its_deadline(
    db: Database, replica: Replica, hosts: Hosts, fake_clock: FakeClock
) -> None:
    @flow("t.late")
    def late(op: Operation) -> None:
        op.command("build", "h", command.owed(name="x"), deadline_s=100)

    hosts.automatic = None
    operation_id = begin(db, "t.late")
    replica.run()
    assert hosts.sent[0].deadline_s == 100
    fake_clock.move(100 + LATE_S)
    replica.runner.beat()
    replica.run()
    assert row(db, operation_id).finished_at is None, "the host itself says when it gives a command up"
    fake_clock.move(101)
    replica.runner.beat()
    replica.run()
    assert row(db, operation_id).error == {"code": "deadline", "message": "Host h did not finish in time."}


def test_an_undo_on_a_host_that_is_down_becomes_a_debt_and_is_paid_when_it_is_back(
    db: Database, replica: Replica, hosts: Hosts, fake_clock: FakeClock
) -> None:
    @flow("t.undo")
    def undone(op: Operation) -> None:
        op.step("one", note, "one", undo=unnote.owed(word="one"))
        op.command("build", "gone", command.owed(name="build"), undo=command.owed(name="discard"))
        op.step("two", refuse)

    def answer_and_go(envelope: object) -> None:
        hosts.away.add("gone")
        hosts.dead.add("gone")

    hosts.automatic = answer_and_go
    operation_id = begin(db, "t.undo", "server")
    replica.run()
    assert row(db, operation_id).state == "undoing" and debts(db) == []
    fake_clock.move(PATIENCE_S + 1)
    replica.runner.beat()
    replica.run()
    assert row(db, operation_id).error == {"code": "Conflict", "message": "not now"}
    assert effects(db) == ["one", "undo one"], "the rest is taken back now"
    assert steps(db, operation_id)[-2:] == ["-build failed", "-one finished"]
    [debt] = debts(db)
    assert (debt.host, debt.subject_id, debt.name, debt.request_id) == ("gone", "server", "test.command", "req-1")
    assert debt.arguments == {"name": "discard"}
    hosts.away.clear()
    hosts.dead.clear()
    hosts.automatic = lambda envelope: None
    replica.run_over(fake_clock, 600, 60)
    assert debts(db) == [] and hosts.commands() == ["build@gone", "discard@gone"]


def test_an_undo_that_a_host_refuses_becomes_a_debt(
    db: Database, replica: Replica, hosts: Hosts, fake_clock: FakeClock
) -> None:
    broken = True

    def answer(envelope: object) -> Failure | None:
        return Failure(code="broken", message="the disk is busy") if broken else None

    @flow("t.undo")
    def undone(op: Operation) -> None:
        op.command("build", "h", command.owed(name="build"), undo=command.owed(name="discard"))

    hosts.automatic = answer
    operation_id = begin(db, "t.undo")
    replica.run()
    assert row(db, operation_id).state == "failed"
    [debt] = debts(db)
    assert (debt.host, debt.error, debt.arguments) == ("h", "the disk is busy", {"name": "discard"})
    broken = False
    replica.run_over(fake_clock, 600, 60)
    assert debts(db) == [] and hosts.commands()[-1] == "discard@h"


def test_an_undo_of_rows_that_raises_becomes_a_debt(db: Database, replica: Replica, fake_clock: FakeClock) -> None:
    broken = True

    @recorded("test.fragile")
    def fragile(session: Session, word: str) -> None:
        note(session, f"undo {word}")
        if broken:
            raise ZeroDivisionError

    @flow("t.undo")
    def undone(op: Operation) -> None:
        op.step("zero", note, "zero", undo=unnote.owed(word="zero"))
        op.step("one", note, "one", undo=fragile.owed(word="one"))
        op.step("two", refuse)

    operation_id = begin(db, "t.undo", "server")
    replica.run()
    assert row(db, operation_id).state == "failed"
    assert effects(db) == ["zero", "one", "undo zero"]
    assert steps(db, operation_id)[-2:] == ["-one failed", "-zero finished"]
    [debt] = debts(db)
    assert (debt.host, debt.subject_id, debt.name) == (DATABASE, "server", "test.fragile")
    broken = False
    replica.run_over(fake_clock, 600, 60)
    assert debts(db) == [] and effects(db)[-1] == "undo one"


def test_a_command_that_cannot_be_built_fails_its_step(db: Database, replica: Replica, hosts: Hosts) -> None:
    @recorded("test.pointless")
    def pointless(_session: Session) -> None:
        raise Conflict("Instance i is on no host.")

    @flow("t.built")
    def built(op: Operation) -> None:
        op.step("one", note, "one", undo=unnote.owed(word="one"))
        op.command("build", "h", pointless.owed())

    operation_id = begin(db, "t.built")
    replica.run()
    assert row(db, operation_id).error == {"code": "Conflict", "message": "Instance i is on no host."}
    assert hosts.sent == [] and effects(db) == ["one", "undo one"]


@pytest.mark.parametrize("undone", [False, True])
def test_the_host_may_be_read_when_the_command_is_sent(
    db: Database, replica: Replica, hosts: Hosts, undone: bool
) -> None:
    def host(session: Session) -> str:
        if undone:
            raise Conflict("on no host")
        return "read"

    @flow("t.read")
    def read(op: Operation) -> None:
        op.command("build", host, command.owed(name="x"))

    operation_id = begin(db, "t.read")
    replica.run()
    assert row(db, operation_id).state == ("failed" if undone else "succeeded")
    assert hosts.commands() == ([] if undone else ["x@read"])


def test_what_is_owed_about_a_subject_is_sent_before_a_new_command_about_it(
    db: Database, replica: Replica, hosts: Hosts
) -> None:
    @flow("t.undo")
    def undone(op: Operation) -> None:
        op.command("build", "h", command.owed(name="server", word="old"), undo=command.owed(name="server"))

    hosts.automatic = lambda envelope: Failure(code="broken", message="no")
    begin(db, "t.undo", "server")
    replica.run()
    [debt] = debts(db)

    @flow("t.again")
    def again(op: Operation) -> None:
        op.command("build", "h", command.owed(name="server", word="new"))
        op.command("other", "h", command.owed(name="somebody else"))
        op.command("elsewhere", "other", command.owed(name="server"))

    del hosts.sent[:]
    hosts.automatic = lambda envelope: None
    operation_id = begin(db, "t.again", "server")
    replica.run()
    assert row(db, operation_id).state == "succeeded" and debts(db) == []
    assert hosts.commands() == ["server@h", "server@h", "somebody else@h", "server@other"]
    assert [one.operation_id for one in hosts.sent] == [f"debt:{debt.token}", *[operation_id] * 3]


def test_what_was_owed_and_refused_is_not_answered_from_the_hosts_memory(
    db: Database, replica: Replica, hosts: Hosts, fake_clock: FakeClock
) -> None:
    """A try that came before another command, and one of its own, are two: the host carries both out."""
    hosts.away.add("h")
    with db.write() as session:
        owe(session, "h", "server", command.owed(name="server"))
    replica.run()

    @flow("t.after")
    def after(op: Operation) -> None:
        op.command("build", "h", command.owed(name="server"))

    hosts.away.clear()
    hosts.automatic = lambda envelope: Failure(code="broken", message="no")
    begin(db, "t.after", "server")
    replica.run()
    hosts.automatic = lambda envelope: None
    replica.run_over(fake_clock, 60)
    assert debts(db) == []
    keys = [one.key for one in hosts.sent if one.operation_id.startswith("debt:")]
    assert len(keys) == len(set(keys)) == 2
