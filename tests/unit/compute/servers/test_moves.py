"""Resize and cold migration: what clients see, and what is claimed and counted."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select

from pileus.agent.commands import DiscardGuest, Envelope, Failure, ReceiveGuest, RestoreGuest, StashGuest
from pileus.clock import utcnow
from pileus.compute.model import Server
from pileus.membership.model import Agent
from pileus.operations.notifications import Notification
from tests.unit.compute.servers.world import World


def test_a_server_is_resized_and_that_is_confirmed(world: World) -> None:
    world.resize()
    shown, move = world.show(world.admin), world.migration()
    assert (shown["status"], shown["OS-EXT-STS:vm_state"], shown["OS-EXT-STS:task_state"]) == (
        "VERIFY_RESIZE", "resized", None
    )  # fmt: skip
    assert shown["flavor"]["original_name"] == "m1.micro" and shown["OS-EXT-SRV-ATTR:host"] == world.other
    assert world.commands() == [("StashGuest", world.source, 2), ("ReceiveGuest", world.other, 3)]
    assert world.claims() == {
        world.id: ("INSTANCE", world.other, 256), move.uuid: ("MIGRATION", world.source, 192)
    }  # fmt: skip
    assert world.port() == (world.other, "ACTIVE")
    world.done("confirmResize")
    assert world.commands() == [("DropStash", world.source, 2)]
    assert world.show()["status"] == "ACTIVE" and world.migration().status == "confirmed"
    assert world.claims() == {world.id: ("INSTANCE", world.other, 256)}
    assert world.act("revertResize").status_code == 409


def test_a_server_is_resized_and_that_is_reverted(world: World) -> None:
    world.resize()
    world.done("revertResize")
    assert world.commands() == [("DiscardGuest", world.other, 3), ("RestoreGuest", world.source, 4)]
    discard, restore = (one.command for one in world.hosts.sent)
    assert isinstance(discard, DiscardGuest) and not discard.stash
    assert isinstance(restore, RestoreGuest) and restore.run and restore.guest.memory_mib == 192
    shown = world.show(world.admin)
    assert shown["status"] == "ACTIVE" and shown["OS-EXT-SRV-ATTR:host"] == world.source
    assert shown["flavor"]["original_name"] == "m1.nano" and world.migration().status == "reverted"
    assert world.claims() == {world.id: ("INSTANCE", world.source, 192)}
    assert world.port() == (world.source, "ACTIVE") and world.row().incarnation == 4


@pytest.mark.parametrize("said", [2, 10**30, True, 1.0, "x", [1], {}])
def test_a_host_that_says_what_is_no_power_state_changes_none(world: World, said: Any) -> None:
    """Nor does it keep anything from being done to the server, of which others are told."""
    world.done("os-stop")
    world.hosts.says = {"power_state": said}
    world.done("os-start")
    assert (world.show()["status"], world.row().power_state) == ("ACTIVE", 1)
    world.resize()
    assert world.show()["status"] == "VERIFY_RESIZE"


def test_a_server_that_is_off_stays_off(world: World) -> None:
    world.done("os-stop")
    with world.serving.db.write() as session:
        session.get_one(Server, world.id).power_state = 4

    world.done("resize", {"flavorRef": "84"})
    receive = world.hosts.sent[-1].command
    assert isinstance(receive, ReceiveGuest) and not receive.run and world.port()[1] == "DOWN"
    world.done("revertResize")
    restore = world.hosts.sent[-1].command
    assert isinstance(restore, RestoreGuest) and not restore.run and world.show()["status"] == "SHUTOFF"


def test_what_is_shown_meanwhile(world: World) -> None:
    seen = []

    def answer(envelope: Envelope) -> Failure | None:
        shown = world.show()
        seen.append((shown["status"], shown["OS-EXT-STS:task_state"], world.migration().status))
        return None

    world.act("resize", {"flavorRef": "84"})
    before = world.show()
    assert (before["status"], before["OS-EXT-STS:task_state"]) == ("RESIZE", "resize_prep")
    world.hosts.automatic = answer
    world.replica.run()
    world.done("revertResize")
    assert seen == [
        ("RESIZE", "resize_migrating", "migrating"),
        ("RESIZE", "resize_finish", "post-migrating"),
        ("REVERT_RESIZE", "resize_reverting", "reverting"),
        ("REVERT_RESIZE", "resize_reverting", "reverting"),
    ]
    named = "/compute/v2.1/servers?status=VERIFY_RESIZE"
    assert world.demo("GET", named).json["servers"] == []
    world.resize()
    assert len(world.demo("GET", named).json["servers"]) == 1


def test_who_listens_is_told(world: World) -> None:
    def told() -> list[tuple[str, str, str]]:
        with world.serving.db.write() as session:
            rows = session.scalars(select(Notification).order_by(Notification.id)).all()
            found = [(row.event_type.removeprefix("instance."), row.priority, row.publisher_id) for row in rows]
            for row in rows:
                assert row.payload["nova_object.data"]["uuid"] == world.id
                session.delete(row)
        return found

    told()
    there, here = f"nova-compute:{world.other}", f"nova-compute:{world.source}"
    world.resize()
    assert told() == [
        ("resize_prep.start", "INFO", there),
        ("resize_prep.end", "INFO", there),
        ("resize.start", "INFO", here),
        ("resize.end", "INFO", here),
        ("resize_finish.start", "INFO", there),
        ("resize_finish.end", "INFO", there),
    ]
    world.done("revertResize")
    assert told() == [("resize_revert.start", "INFO", there), ("resize_revert.end", "INFO", here)]
    world.resize()
    told()
    world.done("confirmResize")
    assert told() == [("resize_confirm.start", "INFO", there), ("resize_confirm.end", "INFO", there)]
    world.refuse(StashGuest)
    world.resize("c1")
    assert [event for event, _, _ in told()] == [
        "resize_prep.start", "resize_prep.end", "resize.start", "resize.error"
    ]  # fmt: skip


def test_each_host_is_told_of_the_other(world: World) -> None:
    """The source whom it hands the disks over to, the destination where they are."""
    with world.serving.db.write() as session:
        name, address = world.source, "10.0.0.5:7000"
        session.add(Agent(name=name, hosts=name, address=address, public_key="k1", next_key="k2", created_at=utcnow()))
        other = world.other
        session.add(Agent(name=other, hosts=other, address="", public_key="of the other", created_at=utcnow()))
    world.resize()
    [stash] = [one.command for one in world.hosts.sent if isinstance(one.command, StashGuest)]
    assert isinstance(stash, StashGuest) and stash.to == world.hosts.sent[-1].host != world.source
    receive = world.hosts.sent[-1].command
    assert isinstance(receive, ReceiveGuest)
    assert (receive.source, receive.address, receive.set_aside) == (world.source, address, 2)
    assert stash.keys == ("of the other",) and tuple(receive.keys) == ("k1", "k2")
    assert receive.guest.memory_mib == 256 and receive.run


def test_the_larger_of_both_flavors_counts_until_the_end(world: World) -> None:
    assert world.used() == (1, 192)
    assert world.act("resize", {"flavorRef": "d3"}).status_code == 202
    assert world.used() == (2, 2048)
    world.replica.run()
    assert world.used() == (2, 2048)
    world.done("revertResize")
    assert world.used() == (1, 192)
    world.resize("d3")
    world.done("confirmResize")
    assert world.used() == (2, 2048)
    with world.serving.db.write() as session:  # a flavor that needs less
        server = session.get_one(Server, world.id)
        server.flavor = type(server.flavor)(id="big", vcpus=4, ram=4096, disk=10)
    world.resize("d3")
    assert world.used() == (4, 4096)
    world.done("confirmResize")
    assert world.used() == (2, 2048)


def test_upsizes_need_quota(world: World) -> None:
    project = world.row().project_id
    quota = f"/compute/v2.1/os-quota-sets/{project}"
    world.admin("PUT", quota, json={"quota_set": {"cores": 1}})
    answer = world.act("resize", {"flavorRef": "d3"})
    assert answer.status_code == 403 and "cores" in answer.json["forbidden"]["message"]
    assert world.act("migrate", user=world.admin).status_code == 202
    world.replica.run()
    assert world.used() == (1, 192)


@pytest.mark.parametrize(
    ("flavor", "message"),
    [
        ("nope", "Flavor nope could not be found."),
        ("42", "When resizing, instances must change flavor!"),
        ("small", "Server disk was unable to be resized because: Resize to a smaller disk is not allowed."),
        ("none", "Server disk was unable to be resized because: Resize to zero disk flavor is not allowed."),
        ("", None),
        (None, None),
    ],
)
def test_flavors_that_a_server_cannot_get(world: World, flavor: Any, message: str | None) -> None:
    for name, sizes in (("small", {"disk": 1}), ("none", {"disk": 0})):
        body = {"flavor": {"id": name, "name": name, "ram": 64, "vcpus": 1, **sizes}}
        world.admin("POST", "/compute/v2.1/flavors", json=body)
    if flavor == "small":
        with world.serving.db.write() as session:
            server = session.get_one(Server, world.id)
            server.flavor = type(server.flavor)(id="42", vcpus=1, ram=192, disk=2)
    answer = world.act("resize", {"flavorRef": flavor})
    assert answer.status_code == 400
    if message:
        assert answer.json["badRequest"]["message"] == message
    assert world.show()["status"] == "ACTIVE"


def test_who_may_do_what(world: World) -> None:
    assert world.act("migrate").status_code == 403
    world.act("lock")
    assert world.act("resize", {"flavorRef": "84"}).status_code == 409
    world.act("unlock")
    assert world.act("resize", {"flavorRef": "84", "host": "host-1"}).status_code == 400
    with world.serving.db.write() as session:
        session.get_one(Server, world.id).vm_state = "resized"
    for key in ("confirmResize", "revertResize"):
        answer = world.act(key)
        assert answer.status_code == 400
        assert answer.json["badRequest"]["message"] == "Instance has not been resized."
