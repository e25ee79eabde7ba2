"""Two replicas on one database: what one holds is its own while its lease lasts, and nobody's afterwards."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from pileus.db import Database
from pileus.operations import Operation, loops, wake
from pileus.operations.leases import FORGOTTEN_S, LEASE_S, share_images
from pileus.operations.model import ReplicaRow
from tests.unit.operations.world import (
    FakeClock,
    Hosts,
    Replica,
    begin,
    command,
    count,
    effects,
    flow,
    note,
    row,
    unnote,
)


@pytest.fixture(autouse=True)
def _flow() -> None:
    @flow("t.work")
    def work(op: Operation) -> None:
        op.step("one", note, "one", undo=unnote.owed(word="one"))
        op.command("build", "h", command.owed(name="x"))
        op.step("two", note, "two")


@pytest.fixture
def pair(db: Database, hosts: Hosts, fake_clock: FakeClock) -> tuple[Replica, Replica]:
    """Two replicas; the first has an operation in hand that waits for a host."""
    hosts.automatic = None
    first, second = Replica(db, hosts, "first").begin(), Replica(db, hosts, "second").begin()
    begin(db, "t.work")
    first.run()
    assert first.in_hand == 1 and effects(db) == ["one"]
    return first, second


def the_operation(db: Database, hosts: Hosts) -> str:
    return hosts.sent[0].operation_id


def test_replicas_that_live_share_their_image_folder(db: Database, hosts: Hosts, fake_clock: FakeClock) -> None:
    first, _second = Replica(db, hosts, "first").begin(), Replica(db, hosts, "second").begin()

    def shares(replica: str, folder: str) -> bool:
        with db.write() as session:
            return share_images(session, replica, folder)

    assert shares("first", "x") and shares("second", "x") and not shares("second", "y")
    first.begin()
    assert not shares("second", "y"), "the first one's second life knows what its first one said"
    fake_clock.move(LEASE_S + 1)
    assert shares("second", "y")


def test_what_a_living_replica_holds_is_left_to_it(
    db: Database, hosts: Hosts, fake_clock: FakeClock, pair: tuple[Replica, Replica]
) -> None:
    first, second = pair
    for _ in range(5):
        fake_clock.move(LEASE_S - 1)
        first.runner.beat()
        second.runner.beat()
        second.run()
    found = row(db, the_operation(db, hosts))
    assert (found.lease_owner, found.attempt) == ("first", 1) and second.in_hand == 0


def test_what_a_dead_replica_held_is_taken_over(
    db: Database, hosts: Hosts, fake_clock: FakeClock, pair: tuple[Replica, Replica]
) -> None:
    _, second = pair
    fake_clock.move(LEASE_S - 1)
    second.runner.beat()
    second.run()
    assert second.in_hand == 0, "its lease still lasts"
    fake_clock.move(2)
    second.runner.beat()
    second.run()
    found = row(db, the_operation(db, hosts))
    assert (found.lease_owner, found.attempt) == ("second", 2)
    assert [one.attempt for one in hosts.sent] == [1, 2] and len({one.key for one in hosts.sent}) == 1
    hosts.answer(hosts.sent[-1])
    second.run()
    assert row(db, found.id).state == "succeeded" and effects(db) == ["one", "two"]


def test_a_replica_that_wakes_up_too_late_cannot_write(
    db: Database, hosts: Hosts, fake_clock: FakeClock, pair: tuple[Replica, Replica]
) -> None:
    first, second = pair
    fake_clock.move(LEASE_S + 1)
    second.runner.beat()
    second.run()
    hosts.replicas = [first]
    hosts.answer(hosts.sent[0])
    first.runner.beat()
    first.run()
    assert effects(db) == ["one"] and first.in_hand == 0
    found = row(db, the_operation(db, hosts))
    assert (found.lease_owner, found.attempt, found.finished_at) == ("second", 2, None)
    hosts.replicas = [second]
    hosts.answer(hosts.sent[1])
    second.run()
    first.run()
    assert row(db, found.id).state == "succeeded" and effects(db) == ["one", "two"]


def test_a_replica_that_wakes_up_before_anybody_came_goes_on(
    db: Database, hosts: Hosts, fake_clock: FakeClock, pair: tuple[Replica, Replica]
) -> None:
    first, _ = pair
    fake_clock.move(LEASE_S + 1)
    first.runner.beat()
    hosts.answer(hosts.sent[0])
    first.run()
    assert row(db, the_operation(db, hosts)).state == "succeeded" and effects(db) == ["one", "two"]


def test_a_replica_may_take_up_again_what_was_taken_from_it(
    db: Database, hosts: Hosts, fake_clock: FakeClock, pair: tuple[Replica, Replica]
) -> None:
    first, second = pair
    fake_clock.move(LEASE_S + 1)
    second.runner.beat()  # frees it, and does not take it
    first.runner.beat()
    first.run()
    found = row(db, the_operation(db, hosts))
    assert (found.lease_owner, found.attempt) == ("first", 2) and first.in_hand == 1
    hosts.answer(hosts.sent[-1])
    first.run()
    second.run()
    assert row(db, found.id).state == "succeeded" and effects(db) == ["one", "two"]


def test_a_replica_that_restarts_takes_up_its_own_at_once(
    db: Database, hosts: Hosts, fake_clock: FakeClock, pair: tuple[Replica, Replica]
) -> None:
    reborn = Replica(db, hosts, "first").begin()
    reborn.run()
    found = row(db, the_operation(db, hosts))
    assert (found.lease_owner, found.attempt) == ("first", 2) and reborn.in_hand == 1


def test_a_replica_has_one_lease_and_a_dead_ones_is_forgotten_in_the_end(
    db: Database, hosts: Hosts, fake_clock: FakeClock, pair: tuple[Replica, Replica]
) -> None:
    first, second = pair
    for _ in range(3):
        first.runner.beat()
        second.runner.beat()
    assert count(db, ReplicaRow) == 2
    fake_clock.move(FORGOTTEN_S + LEASE_S + 1)
    Replica(db, hosts, "third").begin()
    with db.read() as session:
        assert [one.id for one in session.query(ReplicaRow)] == ["third"]


def test_a_replica_rests_until_nothing_is_in_hand(pair: tuple[Replica, Replica], hosts: Hosts) -> None:
    first, second = pair
    second.runner.take_up()
    first.runner.rest(0)
    assert first.in_hand == 1, "it waited no longer than it was told to"
    with ThreadPoolExecutor(1) as pool:
        resting = pool.submit(first.runner.rest, 60)
        hosts.answer(hosts.sent[0])
        first.run()
        assert first.in_hand == 0
        resting.result(30)


def test_what_comes_while_a_replica_that_shares_is_at_work_is_taken_up_together(
    db: Database, hosts: Hosts, fake_clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each time it looks for work it takes a transaction, and each round of a step is one."""
    hosts.automatic = None
    first, _second = Replica(db, hosts, "first").begin(), Replica(db, hosts, "second").begin()
    first.runner.beat()  # it began alone
    taken: list[int] = []

    def rest(timeout_s: float) -> None:
        """More is asked for meanwhile."""
        assert timeout_s == loops.SHARED_GATHER_S
        for number in range(3):
            begin(db, "t.work", f"{len(taken)}-{number}")

    take_up = first.runner.take_up
    monkeypatch.setattr(first.runner, "rest", rest)
    monkeypatch.setattr(first.runner, "take_up", lambda: taken.append(take_up()) or taken[-1])
    begin(db, "t.work")
    threads = loops.Loops(first.runner, first.collector, 0)
    for _ in range(3):
        wake.operations.set()
        threads._poll()
    assert taken == [1, 3, 3]


def test_replicas_share_what_there_is_to_do(db: Database, hosts: Hosts, fake_clock: FakeClock) -> None:
    hosts.automatic = None
    first, second = Replica(db, hosts, "first").begin(), Replica(db, hosts, "second").begin()
    first.runner.beat()  # it began alone
    for number in range(20):
        begin(db, "t.work", f"s{number}")
    assert [one.runner.take_up() for one in (first, second, first, first, first, first)] == [10, 8, 2, 0, 0, 0]
    fake_clock.move(LEASE_S + 1)
    second.runner.beat()
    assert not second.runner.shares and second.runner.take_up() == 12, "the other is dead"
