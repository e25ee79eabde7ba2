"""What is owed stands in rows: with the transaction that owes it, once as the newest state, shown until it is paid."""

from __future__ import annotations

import pytest

from pileus.clock import utcnow
from pileus.db import Database
from pileus.operations.collector import due
from pileus.operations.debts import count, forget, open_debts, owe, owed_to
from tests.unit.operations.world import REGISTRY, Hosts, Replica, command, debts, owing


def test_nothing_is_owed_by_a_transaction_that_is_rolled_back(db: Database, replica: Replica, hosts: Hosts) -> None:
    with pytest.raises(ZeroDivisionError), db.write() as session:
        owe(session, "h", "server", command.owed(name="server"))
        raise ZeroDivisionError
    replica.run()
    assert debts(db) == [] and hosts.sent == []


def test_the_same_owed_again_is_one_debt_of_the_newest_state(db: Database, replica: Replica, hosts: Hosts) -> None:
    for name in ("old", "new"):
        owing(db, "h", "server", command.owed(name=name))
    owing(db, "other", "server", command.owed(name="elsewhere"))
    owing(db, "h", "other", command.owed(name="somebody else"))
    assert len(debts(db)) == 3
    replica.run()
    assert hosts.commands() == ["new@h", "elsewhere@other", "somebody else@h"] and debts(db) == []


def test_debts_are_shown_and_can_be_written_off(db: Database, hosts: Hosts) -> None:
    hosts.away.add("h")
    for name in ("a", "b"):
        owing(db, "h", name, command.owed(name=name))
    with db.read() as session:
        assert [one.subject_id for one in open_debts(session)] == ["a", "b"]
        assert [one.subject_id for one in open_debts(session, limit=1)] == ["a"]
        assert count(session) == 2 and ("h", "a") in owed_to(session, ["h", "g"], ["test.command"])
        assert owed_to(session, ["other"], ["test.command"]) == owed_to(session, ["h"], ["another"]) == set()
        assert [one.command.subject for one in due(session, {("h", "b")}, REGISTRY)] == ["b"]
        assert due(session, {("other", "b")}, REGISTRY) == []
        first = open_debts(session)[0]
        assert abs((first.created_at - utcnow()).total_seconds()) < 60
    with db.write() as session:
        assert forget(session, first.id) is True
        assert forget(session, first.id) is False
    assert [debt.subject_id for debt in debts(db)] == ["b"]
