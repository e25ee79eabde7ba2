"""The board that a process remembers: it is what the database has, whoever changed that, whatever came of a commit."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import delete, select, text, update

from pileus.agent.commands import Inventory
from pileus.compute import aggregates, hosts, scheduler, services
from pileus.compute.model import UP_FOR_S, Host, Server
from pileus.compute.placement_model import ANTI_AFFINITY
from pileus.compute.scheduler.board import Board, Touched
from pileus.compute.services import Change
from pileus.db import Contended, Session, utcnow
from pileus.placement import allocations
from pileus.placement.allocations import Claim
from pileus.placement.model import InventoryRow, ResourceProvider
from tests.unit.compute.scheduler.examples import host, request
from tests.unit.compute.world import World, host_report, report_of

NOBODY: Any = None
"""Aggregates do not look at who asks."""

# --- following ----------------------------------------------------------------------------------------------------


def test_what_did_not_change_is_not_read_again(world: World) -> None:
    world.report(host_report("h1"), host_report("h2"))
    world.boot()
    [server] = world.servers(1)
    with world.statements() as seen:
        assert world.place(server) != [None]
    assert not [one for one in seen if "FROM inventories" in one or "FROM allocations" in one]
    assert len([one for one in seen if one.startswith("SELECT")]) <= 5


def test_only_what_changed_is_read_again(world: World) -> None:
    world.report(*(host_report(f"h{n}") for n in range(20)))
    world.boot()
    world.report(host_report("h3", 1))
    [server] = world.servers(1)
    with world.statements() as seen:
        world.place(server)
    [read] = [one for one in seen if "FROM inventories" in one]
    assert " WHERE inventories.provider_id " in read


def test_a_pass_asks_as_often_however_many_hosts_there_are(world: World) -> None:
    world.report(host_report("h0"))
    servers = world.servers(3)
    asked = []
    for server, count in zip(servers, (1, 40, 40), strict=True):
        world.report(*(host_report(f"h{n}") for n in range(count)))
        with world.statements() as seen:
            world.place(server)
        asked.append(len(seen))
    assert asked[0] == asked[1] > asked[2]


def move_to_a_zone(session: Session) -> None:
    aggregate = aggregates.create(session, {"name": "a", "availability_zone": "west"}, NOBODY)
    aggregates.add_host(session, aggregate, {"host": "h1"}, NOBODY)


def change(**wanted: bool) -> Callable[[Session], None]:
    return lambda session: services.change(session, session.get_one(Host, "h1"), Change(**wanted))


def told(**changes: Any) -> Callable[[Session], None]:
    return lambda session: hosts.register(session, report_of(host_report("h1", **changes)), utcnow())


WRITERS: dict[str, Callable[[Session], None]] = {
    "disabled": change(disabled=True),
    "down": change(forced_down=True),
    "in zone west, not nova": move_to_a_zone,
    "0 of 0 free": told(room=0),
    "has no VCPU": told(inventories={"MEMORY_MB": Inventory(total=4096), "DISK_GB": Inventory(total=99)}),
    "lacks trait COMPUTE_NODE": told(traits=()),
    "hypervisor is QEMU": told(hypervisor_type="QEMU"),
    "architecture is aarch64": told(cpu_info={"arch": "aarch64"}),
}


@pytest.mark.parametrize("reason", WRITERS)
def test_whoever_changes_a_host_moves_its_generation_on(world: World, reason: str) -> None:
    world.report(host_report("h1"))
    specs = {"trait:COMPUTE_NODE": "required", "capabilities:hypervisor_type": "fake"}
    wanted: dict[str, Any] = {"specs": specs, "properties": {"hw_architecture": "x86_64"}, "availability_zone": "nova"}
    first, second = world.servers(2, **wanted)
    assert world.place(first) == ["h1"]
    world.release(first)
    before = world.generation("h1")
    world.another().write(WRITERS[reason])
    assert world.generation("h1") == before + 1
    assert world.place(second) == [None] and reason in world.errors[0]


def test_a_report_of_the_same_moves_nothing(world: World) -> None:
    world.report(host_report("h1"))
    before = world.generation("h1")
    world.report(host_report("h1"))
    assert world.generation("h1") == before == 1


def test_a_silent_host_is_down_until_it_is_heard_of(world: World) -> None:
    world.report(host_report("h1"))
    assert world.boot() == "h1"
    before = world.generation("h1")
    world.write(
        lambda session: session.execute(update(Host).values(last_seen=utcnow() - timedelta(seconds=UP_FOR_S + 5)))
    )
    assert world.boot() is None and "ComputeFilter: down" in world.errors[0]
    world.write(lambda session: hosts.heard_of(session, ["h1"]))
    assert world.boot() == "h1" and world.generation("h1") == before + 1


def test_hosts_that_come_and_go(world: World) -> None:
    world.report(host_report("h1", 1))
    assert [world.boot(), world.boot()] == ["h1", None]
    world.another().report(host_report("h2", 2))
    assert [world.boot(), world.boot()] == ["h2", "h2"]

    def remove(session: Session) -> None:
        for one in (Server, Host, allocations.Allocation, ResourceProvider):
            session.execute(delete(one))

    world.another().write(remove)
    world.report(host_report("h3", 1))
    assert [world.boot(), world.boot()] == ["h3", None] and world.errors[0].count("CoreFilter") == 1


@pytest.mark.parametrize(
    "cannot_be", [{"allocation_ratio": 1e308}, {"reserved": -(2**62)}, {"max_unit": 2**62}], ids=str
)
def test_a_host_whose_stock_cannot_be_keeps_servers_from_no_other(world: World, cannot_be: dict[str, float]) -> None:
    """An earlier release let in whatever hosts said."""
    world.report(host_report("h1"), host_report("h2"))
    lying = select(ResourceProvider.id).where(ResourceProvider.name == "h1").scalar_subquery()
    told = update(InventoryRow).where(InventoryRow.provider_id == lying).values(**cannot_be)
    world.write(lambda session: session.change(told))
    assert world.place(*world.servers(3)) == ["h2"] * 3


def test_after_the_connections_are_gone_nothing_is_remembered(world: World) -> None:
    """What is behind the next ones may be a restored backup, whose generations say nothing."""
    world.report(host_report("h1"))
    assert world.boot() == "h1"
    world.write(lambda session: session.execute(text("UPDATE inventories SET total = 0, max_unit = 0")))
    world.db.dispose()
    assert world.boot() is None


def test_hints_name_servers_of_the_own_project(world: World) -> None:
    world.report(host_report("h1"), host_report("h2"))
    first, foreign = world.servers(1) + world.servers(1, project_id="q")
    at, elsewhere = world.place(first, foreign)
    assert {at, elsewhere} == {"h1", "h2"}
    assert world.boot(scheduler_hints={"same_host": [first, foreign]}) == at
    assert world.boot(scheduler_hints={"different_host": first}) == elsewhere
    assert world.boot(scheduler_hints={"same_host": foreign}) is None
    world.write(lambda session: setattr(session.get_one(Server, first), "deleted_at", utcnow()))
    assert world.boot(scheduler_hints={"same_host": first}) is None, "it was deleted"


def test_servers_being_built_are_found_by_their_index(world: World) -> None:
    world.report(host_report("h1"), host_report("h2"))
    with world.statements() as seen:
        world.boot()
    [query] = [one for one in seen if "'building'" in one]
    if world.db.sqlite:
        with world.db.read() as session:
            plan = " ".join(row[-1] for row in session.execute(text(f"EXPLAIN QUERY PLAN {query}")))
        assert "ix_servers_building" in plan


# --- memory follows the commit ------------------------------------------------------------------------------------


@pytest.mark.parametrize("known", [False, True])
def test_what_was_rolled_back_is_given_again_once(world: World, known: bool) -> None:
    world.report(host_report("h1", 2))
    first, second, third = world.servers(3)
    world.place(first)
    if not known:
        world.db.dispose()
    with pytest.raises(ZeroDivisionError), world.db.write() as session:
        assert scheduler.place(session, [(second, [])])[0]["host"] == "h1"  # type: ignore[index]
        raise ZeroDivisionError
    assert world.place(second, third) == ["h1", None]
    assert world.place(third) == [None] and world.used() == {"h1": 2}


def test_what_was_committed_unseen_is_not_given_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.report(host_report("h1", 1))
    first, second = world.servers(2)

    def lost(session: Session, certain: bool) -> None:
        session.commit()
        raise Contended("the connection was lost")

    monkeypatch.setattr(world.db, "_commit", lost)
    with pytest.raises(Contended), world.db.write() as session:
        scheduler.place(session, [(first, [])])
    monkeypatch.undo()
    assert world.place(second) == [None] and world.used() == {"h1": 1}


def test_what_a_transaction_read_that_was_rolled_back_is_read_again(world: World) -> None:
    """It may have read what it had written itself."""
    world.report(host_report("h1", 1))
    first, second, third = world.servers(3)
    assert world.place(first) == ["h1"]
    with pytest.raises(ZeroDivisionError), world.db.write() as session:
        scheduler.release(session, first)
        assert scheduler.place(session, [(second, [])])[0]["host"] == "h1"  # type: ignore[index]
        raise ZeroDivisionError
    world.another().write(WRITERS["disabled"])
    world.another().write(change(disabled=False))  # the generation is the same as that which was rolled back
    assert world.place(third) == [None] and world.used() == {"h1": 1}


def test_passes_of_one_transaction(world: World) -> None:
    world.report(host_report("h1", 3))
    servers = world.servers(4)
    with world.db.write() as session:
        for one in servers[:2]:
            assert scheduler.place(session, [(one, [])])[0]["host"] == "h1"  # type: ignore[index]
    with world.statements() as seen:
        assert world.place(*servers[2:]) == ["h1", None]
    assert not [one for one in seen if "FROM inventories" in one] and world.used() == {"h1": 3}


def test_what_was_read_again_before_the_commit_was_known_stays() -> None:
    """Another thread's pass may come between a commit and what is done after it."""
    board, first, second = Board(), Touched(), Touched()
    board.put([host("h1", generation=1)], first)
    board.take(0, request("s1"), first)
    assert not board.is_current(1, 1) and board.changed([("rp-h1", 2)]) == ["rp-h1"]
    board.put([host("h1", generation=2)], second)
    board.take(0, request("s2"), second)
    board.settle(first)
    assert not board.is_current(1, 2) and not board.is_current(1, 3), "the second pass is under way"
    board.settle(second)
    assert board.is_current(1, 3) and not board.is_current(1, 2)


def test_two_replicas_claim_in_turn(world: World) -> None:
    other = world.another()
    world.report(host_report("h1", 3), host_report("h2", 3))
    placed = [one.boot() for _ in range(4) for one in (world, other)]
    assert sorted(map(str, placed)) == ["None"] * 2 + ["h1"] * 3 + ["h2"] * 3
    assert world.used() == {"h1": 3, "h2": 3}


def test_a_claim_of_a_host_that_changed_is_contended(world: World) -> None:
    world.report(host_report("h1"))
    [server] = world.servers(1)
    generation = world.generation("h1")
    with world.db.write() as session:
        provider_id = session.get_one(Host, "h1").provider_id
    claim = Claim(server, provider_id, "p", "u", {"VCPU": 1})
    with pytest.raises(Contended), world.db.write() as session:
        allocations.claim(session, [claim], {provider_id: generation - 1})
    world.write(lambda session: allocations.claim(session, [claim], {provider_id: generation}))
    assert world.generation("h1") == generation + 1 and world.used() == {"h1": 1}


# --- beside others, where the database lets them ------------------------------------------------------------------


@pytest.fixture
def shared(world: World) -> World:
    if world.db.sqlite:
        pytest.skip("SQLite's writers are alone")
    return world


def test_a_release_while_a_pass_chooses(shared: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pass sees it and chooses again, in the same transaction, as if it had not chosen before."""
    shared.report(host_report("h1", 2), host_report("h2", 2))
    staying, released = shared.servers(2)
    assert set(shared.place(staying, released)) == {"h1", "h2"}
    apart = shared.write(lambda session: shared.group(session, ANTI_AFFINITY))
    servers = shared.servers(2, group_id=apart)
    other, claim, tried = shared.another(), allocations.claim, list[str]()

    def beside(*given: Any) -> None:
        tried.append("claim")
        if len(tried) == 1:
            other.release(released)
        claim(*given)

    monkeypatch.setattr(allocations, "claim", beside)
    with shared.db.write() as session:
        results = scheduler.place(session, [(one, []) for one in servers])
    assert {result["host"] for result in results} == {"h1", "h2"}  # type: ignore[index]
    assert len(tried) == 2 and sorted(shared.used().values()) == [1, 2]


@pytest.mark.parametrize("reason", WRITERS)
def test_who_changes_a_host_waits_for_a_pass(shared: World, reason: str) -> None:
    shared.report(host_report("h1"))
    other, before = shared.another(), shared.generation("h1")
    with ThreadPoolExecutor(1) as pool:
        with shared.db.write() as session:
            session.lock(allocations.LOCK)
            changing = pool.submit(other.write, WRITERS[reason])
            with pytest.raises(TimeoutError):
                changing.result(0.2)
        changing.result(30)
    assert shared.generation("h1") == before + 1


def test_a_report_of_the_same_and_signs_of_life_do_not_wait(shared: World) -> None:
    shared.report(host_report("h1"))
    [server] = shared.servers(1)
    other = shared.another()
    with shared.db.write() as session:
        scheduler.place(session, [(server, [])])
        other.report(host_report("h1"))
        other.write(lambda session: hosts.heard_of(session, ["h1"]))


def test_a_pass_waits_for_a_release_and_tries_again(shared: World) -> None:
    shared.report(host_report("h1", 2))
    first, second, third = shared.servers(3)
    assert shared.place(first) == ["h1"]
    other = shared.another()
    with ThreadPoolExecutor(1) as pool:
        with other.db.write() as session:
            scheduler.release(session, first)
            placing = pool.submit(shared.place, second, third)
            with pytest.raises(TimeoutError):
                placing.result(0.3)
        assert placing.result(30) == ["h1", "h1"]
    assert shared.used() == {"h1": 2}


def test_replicas_at_the_same_time_never_claim_too_much(shared: World) -> None:
    shared.report(*(host_report(f"h{n}", 2) for n in range(5)))
    servers = shared.servers(24)
    worlds = [shared.another() for _ in range(4)]

    def work(number: int) -> list[str | None]:
        mine = servers[number::4]
        placed = worlds[number].place(*mine[:2])
        if placed[0]:
            worlds[number].release(mine[0])
        return [*placed[1:], *worlds[number].place(*mine[2:])]

    with ThreadPoolExecutor(4) as pool:
        placed = [one for part in pool.map(work, range(4)) for one in part]
    assert sum(shared.used().values()) == sum(one is not None for one in placed) == 10
    assert set(shared.used().values()) == {2}


# --- who pays for it ----------------------------------------------------------------------------------------------


def run(*lines: str) -> None:
    """Run lines in a Python of their own."""
    subprocess.run([sys.executable, "-c", "\n".join(lines)], check=True)


def test_who_does_not_schedule_needs_no_numpy() -> None:
    run("import pileus.cloud, pileus.replica, sys", "assert 'numpy' not in sys.modules")


def test_who_schedules_imports_nothing_later() -> None:
    """The files may be root's, and the process an ordinary user's by then."""
    run(
        "import sys",
        "from pileus.compute import scheduler",
        "from pileus.compute.scheduler.hosts import HostState, Room",
        "from pileus.compute.scheduler.request import Request",
        "scheduler.prepare()",
        "before = set(sys.modules)",
        "from pileus.compute.scheduler.board import Board, Touched",
        "from pileus.compute.scheduler.passes import Pass",
        "board = Board()",
        "rooms = {'VCPU': Room(2, 2, 0, 2)}",
        "states = [HostState(n, 1, n, 'z', False, n == 'a', 'q', 'x', rooms, frozenset('t')) for n in 'ab']",
        "board.put(states, Touched())",
        "board.begin(['c'], {'a': 1}, {})",
        "this = Pass(board, Touched())",
        "results = [this.choose(Request(str(n), 'p', 'u', {'VCPU': 1}, 'z', None, {}, {}, {})) for n in range(3)]",
        "assert [isinstance(one, dict) for one in results] == [True, True, False], results",
        "assert set(sys.modules) == before, set(sys.modules) - before",
    )
