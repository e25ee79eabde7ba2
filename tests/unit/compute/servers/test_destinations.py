"""Where resize and cold migration take a server, and what becomes of a host that fails."""

from __future__ import annotations

import pytest

from pileus.agent.commands import DiscardGuest, Envelope, Failure, ReceiveGuest, RestoreGuest, StashGuest
from pileus.clock import utcnow
from pileus.compute import hosts
from tests.unit.compute.servers.world import NEWEST, REFUSED, World, reported

OLD = {"OpenStack-API-Version": "compute 2.1"}


# --- where it goes --------------------------------------------------------------------------------------------------


def test_an_administrator_migrates_to_a_host(world: World) -> None:
    for host, message in (
        ("nowhere", "Compute host nowhere could not be found."),
        (world.source, "Cannot migrate to the host where the server exists."),
    ):
        answer = world.act("migrate", {"host": host}, world.admin)
        assert answer.status_code == 400 and answer.json["badRequest"]["message"] == message
    with world.serving.db.write() as session:
        hosts.register(session, reported(4), utcnow())
    world.done("migrate", {"host": "host-3"}, world.admin)
    assert world.show(world.admin)["OS-EXT-SRV-ATTR:host"] == "host-3" and world.migration().type == "migration"
    assert world.show()["flavor"]["original_name"] == "m1.nano"


def test_before_2_56_hosts_are_not_named(world: World) -> None:
    assert world.act("migrate", {"host": world.source}, world.admin, **OLD).status_code == 202
    world.replica.run()
    assert world.migration().dest_host == world.other


def test_a_server_never_stays_unless_that_is_allowed(world: World) -> None:
    world.admin("PUT", "/compute/v2.1/os-services/disable", json={"host": world.other, "binary": "nova-compute"})
    world.done("resize", {"flavorRef": "84"})
    assert world.show()["status"] == "ACTIVE" and world.migration().status == "error"
    assert f"{world.source} (RetryFilter: the server is to leave it)" in world.fault() and world.used() == (1, 192)
    assert world.claims() == {world.id: ("INSTANCE", world.source, 192)}
    world.serving.settings.allow_resize_to_same_host = True
    world.done("migrate", user=world.admin)
    assert world.migration().status == "error"
    world.resize()
    assert world.show(world.admin)["OS-EXT-SRV-ATTR:host"] == world.source
    assert world.commands() == [("StashGuest", world.source, 2), ("ReceiveGuest", world.source, 3)]
    world.done("confirmResize")
    assert world.claims() == {world.id: ("INSTANCE", world.source, 256)}


def test_groups_hold_for_the_destination_and_do_not_count_the_server_itself(world: World) -> None:
    body = {"server_group": {"name": "g", "policy": "anti-affinity"}}
    group = world.demo("POST", "/compute/v2.1/os-server-groups", json=body, headers=NEWEST)
    hints = {"group": group.json["server_group"]["id"]}
    world.id = world.boot(hints=hints)
    world.replica.run()
    world.done("migrate", user=world.admin)
    assert world.migration().status == "finished"
    world.done("confirmResize")
    world.boot(hints=hints)
    world.replica.run()
    world.done("migrate", user=world.admin)
    assert world.migration().status == "error" and "ServerGroupAntiAffinityFilter" in world.fault()


# --- another host ---------------------------------------------------------------------------------------------------


def fails_first(world: World, *kinds: type) -> list[str]:
    """Have the first destination refuse what it is to receive, and any host these commands; gives that one's name."""
    with world.serving.db.write() as session:
        hosts.register(session, reported(2, first=2), utcnow())
    failing: list[str] = []

    def answer(envelope: Envelope) -> Failure | None:
        if isinstance(envelope.command, ReceiveGuest) and failing in ([], [envelope.host]):
            failing[:] = [envelope.host]
            return REFUSED
        return REFUSED if isinstance(envelope.command, kinds) else None

    world.hosts.automatic = answer
    return failing


@pytest.mark.parametrize("key", ["resize", "migrate"])
def test_a_destination_that_fails_is_left_for_another(world: World, key: str) -> None:
    failing = fails_first(world)
    world.done(key, {"flavorRef": "84"} if key == "resize" else None, world.admin)
    (first,), there = failing, world.row().host or ""
    assert there not in (first, world.source) and world.show()["status"] == "VERIFY_RESIZE"
    assert world.commands() == [
        ("StashGuest", world.source, 2),
        ("ReceiveGuest", first, 3),
        ("DiscardGuest", first, 3),
        ("RestoreGuest", world.source, 4),
        ("StashGuest", world.source, 5),
        ("ReceiveGuest", there, 6),
    ]
    kept = [one.command.to for one in world.hosts.sent if isinstance(one.command, StashGuest)]
    assert kept == [first, there]
    assert {one[:2] for one in world.claims().values()} == {("INSTANCE", there), ("MIGRATION", world.source)}
    assert world.migration().dest_host == there and world.migration().status == "finished"
    world.done("revertResize")
    assert world.row().host == world.source and world.row().incarnation == 7


def test_a_move_is_tried_on_so_many_hosts(world: World) -> None:
    world.serving.settings.build_attempts = 2
    fails_first(world)
    world.refuse(ReceiveGuest)
    world.resize()
    assert [one for one, _, _ in world.commands()].count("ReceiveGuest") == 2
    assert "Moving failed on 2 hosts" in world.fault() and world.fault().count("the host is not well") == 2
    assert world.row().host == world.source and list(world.claims()) == [world.id]


def test_a_destination_that_was_named_is_the_only_one(world: World) -> None:
    fails_first(world)
    world.done("migrate", {"host": "host-3"}, world.admin)
    assert [host for one, host, _ in world.commands() if one == "ReceiveGuest"] == ["host-3"]
    assert world.migration().status == "error" and world.row().host == world.source


@pytest.mark.parametrize("kind", [DiscardGuest, RestoreGuest])
def test_no_other_is_tried_while_it_is_not_known_what_runs(world: World, kind: type) -> None:
    fails_first(world, kind)
    world.resize()
    assert [one for one, _, _ in world.commands()].count("ReceiveGuest") == 1
    assert world.migration().status == "error" and len(world.debts()) == 1


def test_a_source_that_fails_is_not_asked_again(world: World) -> None:
    fails_first(world)
    world.refuse(StashGuest)
    world.resize()
    assert [one for one, _, _ in world.commands()] == ["StashGuest", "RestoreGuest"]
    assert world.fault() == "the host is not well"
