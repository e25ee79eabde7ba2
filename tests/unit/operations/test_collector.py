"""What is owed is paid in the end: once as the newest state, again until it works, and nobody keeps others waiting."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import pytest
from sqlalchemy import update

from pileus.agent.commands import Command, DiscardGuest, Failure
from pileus.db import Database, Session
from pileus.errors import Unavailable
from pileus.operations.collector import LONGEST_PAUSE_S, TAKEN_S
from pileus.operations.debts import DATABASE, NETWORK, hurry
from pileus.operations.model import DebtRow
from pileus.operations.owed import Owed, Recorded, recorded_many
from tests.unit.operations.world import (
    REGISTRY,
    FakeClock,
    Hosts,
    Replica,
    command,
    debts,
    effects,
    owing,
    recorded,
    unnote,
)


def test_a_host_is_told_what_it_is_owed(db: Database, replica: Replica, hosts: Hosts) -> None:
    owing(db, "h", "server", command.owed(name="server"))
    [debt] = debts(db)
    assert (debt.host, debt.subject_id, debt.name, debt.request_id) == ("h", "server", "test.command", "req-1")
    assert (debt.arguments, debt.tries, debt.error) == ({"name": "server"}, 0, None)
    replica.run()
    assert hosts.commands() == ["server@h"] and debts(db) == []
    replica.run()
    assert len(hosts.sent) == 1


def test_what_is_owed_again_while_it_is_paid_is_paid_again(db: Database, replica: Replica, hosts: Hosts) -> None:
    hosts.automatic = None
    owing(db, "h", "server", command.owed(name="old"))
    replica.run()
    owing(db, "h", "server", command.owed(name="new"))
    hosts.answer(hosts.sent[0])
    [debt] = debts(db)
    assert debt.arguments == {"name": "new"}
    replica.run()
    assert hosts.commands()[0] == "old@h" and set(hosts.commands()[1:]) == {"new@h"}
    for envelope in hosts.sent[1:]:
        hosts.answer(envelope)
    assert debts(db) == []


def test_the_answer_to_an_older_state_does_not_count_for_the_newer(
    db: Database, replica: Replica, hosts: Hosts, fake_clock: FakeClock
) -> None:
    hosts.automatic = None
    owing(db, "h", "server", command.owed(name="old"))
    replica.run()
    owing(db, "h", "server", command.owed(name="new"))
    replica.run()
    old, new = hosts.sent
    hosts.answer(old)
    assert len(debts(db)) == 1
    hosts.answer(new)
    assert debts(db) == [] and hosts.commands() == ["old@h", "new@h"]


def test_every_debt_is_told_under_a_key_of_its_own(db: Database, replica: Replica, hosts: Hosts) -> None:
    """Hosts answer a key that they know from their journal."""
    for _ in range(3):
        owing(db, "h", "server", command.owed(name="server"))
        replica.run()
    assert len({one.key for one in hosts.sent}) == len({one.operation_id for one in hosts.sent}) == 3


def test_what_fails_is_tried_again_at_growing_intervals(
    db: Database, replica: Replica, hosts: Hosts, fake_clock: FakeClock
) -> None:
    hosts.automatic = lambda envelope: Failure(code="broken", message="the disk is full")
    owing(db, "h", "server", command.owed(name="server"))
    tried: list[int] = []
    for second in range(300):
        before = len(hosts.sent)
        replica.run()
        tried += [second] * (len(hosts.sent) - before)
        fake_clock.move(1)
    pauses = [later - earlier for earlier, later in pairwise(tried)]
    assert 6 <= len(pauses) <= 9
    assert all(later >= 1.5 * earlier for earlier, later in pairwise(pauses[1:]))
    [debt] = debts(db)
    assert debt.error == "the disk is full" and debt.tries == len(tried)
    assert [one.attempt for one in hosts.sent] == sorted({one.attempt for one in hosts.sent}), "never one seen before"
    with db.write() as session:
        session.change(update(DebtRow).values(tries=1000))
    fake_clock.move(1000)
    replica.run()
    before = len(hosts.sent)
    hosts.automatic = lambda envelope: None
    fake_clock.move(LONGEST_PAUSE_S + 1)
    replica.run()
    assert len(hosts.sent) == before + 1 and debts(db) == []


def test_a_host_that_is_away_gets_it_when_it_is_back(
    db: Database, replica: Replica, hosts: Hosts, fake_clock: FakeClock
) -> None:
    hosts.away.add("h")
    owing(db, "h", "server", command.owed(name="server"))
    replica.run_over(fake_clock, 200, 10)
    [debt] = debts(db)
    assert debt.error == "Host h is not connected." and debt.tries > 3 and hosts.sent == []
    hosts.away.clear()
    replica.run()
    assert len(debts(db)) == 1, "it is not due"
    with db.write() as session:
        hurry(session, ["other"])
    replica.run()
    assert len(debts(db)) == 1
    with db.write() as session:
        hurry(session, ["h"])
    replica.run()
    assert debts(db) == [] and hosts.commands() == ["server@h"]


def test_a_try_that_is_not_answered_is_repeated(
    db: Database, replica: Replica, hosts: Hosts, fake_clock: FakeClock
) -> None:
    hosts.automatic = None
    owing(db, "h", "server", command.owed(name="server"))
    replica.run_over(fake_clock, TAKEN_S - 5, 5)
    assert len(hosts.sent) == 1
    replica.run_over(fake_clock, 10, 5)
    assert len(hosts.sent) == 2
    hosts.answer(hosts.sent[0])
    assert debts(db) == [], "either answer counts"
    hosts.answer(hosts.sent[1])
    assert debts(db) == []


@pytest.mark.parametrize("trouble", ["unknown", "defect", "refused"])
def test_one_that_cannot_be_paid_does_not_keep_others_from_it(
    db: Database, replica: Replica, hosts: Hosts, trouble: str
) -> None:
    @recorded("test.partly")
    def partly(_session: Session, name: str) -> Command:
        if name == "bad":
            raise Unavailable("not now") if trouble == "refused" else ZeroDivisionError
        return DiscardGuest(server_id=name)

    bad = Owed("test.of another release", {"name": "bad"}) if trouble == "unknown" else partly.owed(name="bad")
    names = ["a", "b", "bad", "c"]
    for name in names:
        owing(db, "h", name, bad if name == "bad" else partly.owed(name=name))
    replica.run()
    assert sorted(hosts.commands()) == ["a@h", "b@h", "c@h"]
    [debt] = debts(db)
    errors = {
        "unknown": "This release has no action named test.of another release.",
        "defect": "internal error: ZeroDivisionError",
        "refused": "not now",
    }
    assert (debt.subject_id, debt.error) == ("bad", errors[trouble])


def test_an_action_of_a_later_release_is_paid_when_it_is_known(
    db: Database, replica: Replica, hosts: Hosts, fake_clock: FakeClock
) -> None:
    owing(db, "h", "server", Owed("test.later", {"name": "server"}))
    replica.run()
    later: Recorded[Any, Any] = Recorded("test.later", lambda session, name: DiscardGuest(server_id=name))
    REGISTRY.add_action(later)
    replica.run_over(fake_clock, 10)
    assert debts(db) == [] and hosts.commands() == ["server@h"]


def test_what_has_become_pointless_is_struck_out(db: Database, replica: Replica, hosts: Hosts) -> None:
    @recorded("test.pointless")
    def pointless(_session: Session) -> None:
        """Nothing is to be done any more."""

    owing(db, "h", "server", pointless.owed())
    owing(db, NETWORK, "port", pointless.owed())
    replica.run()
    assert debts(db) == [] and hosts.sent == []


def test_debts_of_rows_are_paid_in_a_transaction_of_their_own(
    db: Database, replica: Replica, fake_clock: FakeClock
) -> None:
    @recorded("test.broken")
    def broken(session: Session) -> None:
        unnote(session, word="half-way")
        raise ZeroDivisionError

    owing(db, DATABASE, "a", unnote.owed(word="a"))
    owing(db, DATABASE, "b", broken.owed())
    owing(db, DATABASE, "c", unnote.owed(word="c"))
    replica.run()
    assert effects(db) == ["undo a", "undo c"]
    assert [(debt.name, debt.error) for debt in debts(db)] == [("test.broken", "internal error: ZeroDivisionError")]


# --- the network ------------------------------------------------------------------------------------------------------


class Change(NamedTuple):
    """A change of the network, as an action builds it."""

    name: str


class Network:
    """Applies changes; fails while it is told to."""

    def __init__(self) -> None:
        self.applied: list[str] = []
        self.fails: Callable[[str], Exception | None] = lambda change: None

    def apply(self, change: Change) -> None:
        if error := self.fails(change.name):
            raise error
        self.applied.append(change.name)


@pytest.fixture
def network() -> Network:
    return Network()


@pytest.fixture
def payer(db: Database, hosts: Hosts, network: Network) -> Replica:
    """A replica that reaches the network."""

    @recorded("test.change")
    def change(_session: Session, name: str) -> Change:
        return Change(name)

    return Replica(db, hosts, apply=network.apply).begin()


def change(name: str) -> Owed:
    return Owed("test.change", {"name": name})


def test_the_network_is_told_by_its_own_driver(db: Database, payer: Replica, hosts: Hosts, network: Network) -> None:
    owing(db, NETWORK, "port", change("port"))
    payer.run()
    assert network.applied == ["port"] and hosts.sent == [] and debts(db) == []


def test_the_network_is_told_again_what_it_refused(
    db: Database, payer: Replica, network: Network, fake_clock: FakeClock
) -> None:
    network.fails = lambda one: (
        Unavailable("OVN is away") if one == "a" else ZeroDivisionError() if one == "b" else None
    )
    for name in ("a", "b", "c"):
        owing(db, NETWORK, name, change(name))
    payer.run()
    assert network.applied == ["c"]
    errors = {debt.subject_id: debt.error for debt in debts(db)}
    assert errors == {"a": "OVN is away", "b": "internal error: ZeroDivisionError"}
    network.fails = lambda one: None
    payer.run_over(fake_clock, 10)
    assert sorted(network.applied) == ["a", "b", "c"] and debts(db) == []


def test_what_the_network_is_owed_again_while_it_is_told_is_told_again(
    db: Database, payer: Replica, network: Network
) -> None:
    def owe_again(one: str) -> None:
        if one == "old":
            owing(db, NETWORK, "port", change("new"))

    network.fails = owe_again
    owing(db, NETWORK, "port", change("old"))
    payer.run()
    assert network.applied[0] == "old" and network.applied[-1] == "new" and debts(db) == []


def test_many_of_one_kind_are_built_at_once(db: Database, payer: Replica, network: Network) -> None:
    built: list[int] = []

    @recorded_many("test.many")
    def many(_session: Session, given: Sequence[dict[str, Any]]) -> list[Change]:
        built.append(len(given))
        if any(one["name"] == "bad" for one in given):
            raise ZeroDivisionError
        return [Change(one["name"]) for one in given]

    REGISTRY.add_action(many)

    for name in "abc":
        owing(db, NETWORK, name, many.owed(name=name))
    payer.run()
    assert built == [3] and network.applied == ["a", "b", "c"]
    for name in ("a", "bad"):
        owing(db, NETWORK, name, many.owed(name=name))
    payer.run()
    assert built == [3, 2, 1, 1] and network.applied[3:] == ["a"] and len(debts(db)) == 1
