"""Whoever changes several debts takes them in one order, so that on PostgreSQL none waits for another in a circle."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
from sqlalchemy import delete, select

from pileus.agent.commands import DiscardGuest
from pileus.db import Database, Session
from pileus.operations import debts
from pileus.operations.debts import NETWORK, Owing
from pileus.operations.model import DebtRow
from tests.unit.locks import waits
from tests.unit.operations.world import Hosts, Replica, command

SUBJECTS = ["a", "b", "c"]


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    """A thread for what has to wait."""
    with ThreadPoolExecutor(1) as pool:
        yield pool


def owe(session: Session, host: str) -> None:
    """A debt about each of SUBJECTS, the last one first."""
    debts.owe_all(session, [Owing(host, one, command.owed(name=one)) for one in reversed(SUBJECTS)])


def owe_again(db: Database, host: str) -> None:
    with db.write() as session:
        owe(session, host)


def hurry(db: Database, host: str) -> None:
    with db.write() as session:
        debts.hurry(session, [host])


def pay(db: Database, _host: str) -> None:
    Replica(db, Hosts()).collector.collect()


@pytest.mark.parametrize(("work", "host"), [(owe_again, "h"), (hurry, "h"), (pay, "h"), (pay, NETWORK)])
def test_several_debts_are_taken_by_subject(
    db: Database, pool: ThreadPoolExecutor, work: Callable[[Database, str], None], host: str
) -> None:
    if db.sqlite:
        pytest.skip("SQLite's writers are alone")
    for subject in reversed(SUBJECTS):
        with db.write() as session:
            debts.owe(session, host, subject, command.owed(name=subject))
    with db.write() as session:
        session.execute(select(DebtRow).where(DebtRow.subject_id == "b").with_for_update())
        done = pool.submit(work, db, host)
        waits(db, done)
        with db.write() as other:
            free = select(DebtRow.subject_id).with_for_update(skip_locked=True)
            assert other.scalars(free).all() == ["c"]
    done.result(10)


def test_what_another_replica_struck_out_is_owed_again_by_itself(db: Database, pool: ThreadPoolExecutor) -> None:
    if db.sqlite:
        pytest.skip("SQLite's writers are alone")
    with ExitStack() as elsewhere:

        def apply(told: DiscardGuest) -> None:
            """Meanwhile another replica has paid one of them, and somebody is about to owe it again."""
            if told.server_id == "b":
                with db.write() as session:
                    session.change(delete(DebtRow).where(DebtRow.subject_id == "b"))
                debts.owe(elsewhere.enter_context(db.write()), NETWORK, "b", command.owed(name="b"))

        owe_again(db, NETWORK)
        done = pool.submit(Replica(db, Hosts(), apply=apply).collector.collect)
        waits(db, done)
        with db.write() as other:
            assert other.scalars(select(DebtRow.subject_id).with_for_update(skip_locked=True)).all() == ["a", "c"]
    done.result(10)
    with db.read() as session:
        assert session.scalars(select(DebtRow.subject_id)).all() == ["b"]
