"""What an operation has to itself, whom it waits for, and how it hands over."""

from __future__ import annotations

import threading

import pytest
from sqlalchemy import event

from pileus.db import Contended, Database
from pileus.errors import Conflict
from pileus.operations import Operation, OperationRow, cancel, live, note, task_states
from pileus.operations.model import WaitRow
from pileus.operations.start import Arguments, Busy, start_many
from pileus.operations.views import stages
from tests.unit.operations.world import (
    ORIGIN,
    REGISTRY,
    Hosts,
    Replica,
    accept,
    begin,
    command,
    count,
    effects,
    flow,
    row,
    subjects,
    unnote,
)
from tests.unit.operations.world import note as effect


@pytest.fixture(autouse=True)
def _flows() -> None:
    @flow("t.hold", shows=("holding", "held"))
    def holder(op: Operation, word: str = "held") -> None:
        op.step("one", effect, word, undo=unnote.owed(word=word), then="held")
        op.command("wait", "h", command.owed(name=op.subject_id))

    @flow("t.next", shows=("following",))
    def follower(op: Operation, word: str = "next") -> None:
        op.step("one", effect, word)


def shown(db: Database, *ids: str) -> dict[str, str | None]:
    with db.read() as session:
        return task_states(session, ids)


def test_an_operation_has_all_its_subjects_to_itself_until_it_ends(
    db: Database, replica: Replica, hosts: Hosts
) -> None:
    hosts.automatic = None
    first = begin(db, "t.hold", "server", also=["volume", "port"])
    assert subjects(db) == dict.fromkeys(("server", "volume", "port"), first)
    assert shown(db, "server", "port", "other") == {"server": "holding", "port": "holding"}
    replica.run()
    assert shown(db, "server", "volume", "port") == dict.fromkeys(("server", "volume", "port"), "held")
    for taken in (["server"], ["volume"], ["other", "port"]):
        with pytest.raises(Busy, match=f"^Another operation is under way on {taken[-1]}\\.$"):
            begin(db, "t.next", taken[0], also=taken[1:])
    assert count(db, OperationRow) == 1 and set(subjects(db)) == {"server", "volume", "port"}
    begin(db, "t.next", "other")
    hosts.answer(hosts.sent[0])
    replica.run()
    assert subjects(db) == {}
    begin(db, "t.next", "volume", also=["server"])


def test_a_busy_subject_is_a_conflict() -> None:
    assert issubclass(Busy, Conflict)


def test_a_request_that_is_refused_leaves_nothing(db: Database) -> None:
    with pytest.raises(ZeroDivisionError), db.write() as session:
        accept(session, "t.hold", "server")
        raise ZeroDivisionError
    assert subjects(db) == {} and count(db, OperationRow) == 0


def test_of_two_requests_at_once_one_is_let_in(db: Database) -> None:
    outcomes: list[str] = []
    together = threading.Barrier(2)

    def ask() -> None:
        together.wait(60)
        try:
            begin(db, "t.hold", "server")
            outcomes.append("let in")
        except (Busy, Contended):
            outcomes.append("refused")  # PostgreSQL's writers do not wait for each other: a request is asked again

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(outcomes) == ["let in", "refused"]
    assert count(db, OperationRow) == 1


def test_a_cancelled_operation_hands_its_subject_over(db: Database, replica: Replica, hosts: Hosts) -> None:
    hosts.automatic = None
    first = begin(db, "t.hold", "server", also=["volume"])
    replica.run()
    with db.write() as session:
        [under_way] = live(session, "server", lock=True)
        cancel(session, under_way)
        second = accept(session, "t.next", "server", after=[under_way]).id
    assert subjects(db) == {"server": second, "volume": first}
    assert shown(db, "server", "volume") == {"server": "following", "volume": "held"}
    with pytest.raises(Busy):
        begin(db, "t.next", "server")
    replica.run()
    assert (row(db, first).state, row(db, second).state) == ("cancelled", "succeeded")
    assert effects(db) == ["held", "undo held", "next"] and subjects(db) == {}


def test_the_end_of_the_former_does_not_take_the_subject_from_its_successor(
    db: Database, replica: Replica, hosts: Hosts
) -> None:
    hosts.automatic = None
    first = begin(db, "t.hold", "server")
    replica.run()
    with db.write() as session:
        second = accept(session, "t.hold", "server", after=live(session, "server"), word="again").id
    hosts.answer(hosts.sent[0])
    replica.run()
    assert row(db, first).state == "succeeded"
    assert subjects(db) == {"server": second} and shown(db, "server") == {"server": "held"}


def test_an_operation_waits_for_all_that_it_comes_after(db: Database, replica: Replica, hosts: Hosts) -> None:
    hosts.automatic = None
    ids = [begin(db, "t.hold", name) for name in ("a", "b", "c")]
    replica.run()
    with db.write() as session:
        former = [session.get_one(OperationRow, one) for one in ids]
        last = accept(session, "t.next", "a", also=["b", "c"], after=former).id
    assert subjects(db) == dict.fromkeys("abc", last)
    for envelope in hosts.sent:
        replica.run()
        assert row(db, last).state == "pending"
        hosts.answer(envelope)
    replica.run()
    assert row(db, last).state == "succeeded"
    assert count(db, WaitRow) == 3, "kept as long as the operations are"


def test_a_subject_of_an_operation_that_is_not_waited_for_is_not_given_up(db: Database) -> None:
    first, second = begin(db, "t.hold", "a"), begin(db, "t.hold", "b")
    with pytest.raises(Busy, match="under way on b"), db.write() as session:
        accept(session, "t.next", "a", also=["b"], after=live(session, "a"))
    assert subjects(db) == {"a": first, "b": second}


def test_what_a_request_does_itself_is_journaled_and_holds_nothing(db: Database) -> None:
    with db.write() as session:
        note(session, "t.rename", "server", ORIGIN)
    assert subjects(db) == {} and count(db, OperationRow) == 1
    begin(db, "t.next", "server")


def test_a_note_during_an_operation_does_not_hide_it(db: Database, replica: Replica, hosts: Hosts) -> None:
    """A rename during a stop once let a hard reboot in."""
    hosts.automatic = None
    begin(db, "t.hold", "server")
    replica.run()
    with db.write() as session:
        note(session, "t.rename", "server", ORIGIN)
    assert shown(db, "server") == {"server": "held"}
    with pytest.raises(Busy, match="under way on server"):
        begin(db, "t.next", "server")


def test_many_are_accepted_at_once_with_the_stages_of_their_request(db: Database, replica: Replica) -> None:
    stage = {"name": "check quota", "started": 1.0, "finished": 2.0}
    each = [Arguments(f"server-{number}", {"word": f"word {number}"}) for number in range(3)]
    with db.write() as session:
        start_many(session, REGISTRY.newest("t.next").kind, ORIGIN, [stage], each)
    held = subjects(db)
    assert sorted(held) == ["server-0", "server-1", "server-2"] and len(set(held.values())) == 3
    assert set(shown(db, *held).values()) == {"following"}
    with pytest.raises(Busy):
        begin(db, "t.next", "server-1")
    replica.run()
    assert sorted(effects(db)) == ["word 0", "word 1", "word 2"] and subjects(db) == {}
    with db.read() as session:
        found = stages(session, session.get_one(OperationRow, held["server-1"]))
    assert [(stage.name, stage.depth) for stage in found] == [("accept", 0), ("check quota", 1), ("one", 0)]
    accepted = row(db, held["server-1"])
    assert (accepted.request_id, accepted.project_id, accepted.version) == ("req-1", "p", 1)


def test_accepting_many_takes_as_many_statements_as_accepting_one(db: Database) -> None:
    def statements(each: list[dict[str, str]]) -> list[str]:
        seen: list[str] = []

        def note_one(_c: object, _k: object, statement: str, *_: object) -> None:
            seen.append(statement.split()[0])

        event.listen(db.engine, "before_cursor_execute", note_one)
        try:
            with db.write() as session:
                start_many(session, REGISTRY.newest("t.next").kind, ORIGIN, [], each)
        finally:
            event.remove(db.engine, "before_cursor_execute", note_one)
        return [word for word in seen if word != "BEGIN"]

    many = [Arguments(f"server-{number}", {}) for number in range(50)]
    assert statements([Arguments("one", {})]) == statements(many) == ["INSERT"] * 3
