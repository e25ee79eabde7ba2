"""Resize and cold migration: what clients see, what is claimed and counted, and what is taken back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select

from pileus import clock
from pileus.agent.commands import (
    AgentReport,
    DiscardGuest,
    DropStash,
    Envelope,
    Failure,
    GuestReport,
    ReceiveGuest,
    RestoreGuest,
    StashGuest,
)
from pileus.clock import utcnow
from pileus.compute import hosts
from pileus.compute.actions.confirm import confirm_due
from pileus.compute.migration_model import Migration
from pileus.compute.model import Host, Server, ServerFault, UnknownGuest
from pileus.membership.model import Agent
from pileus.network.model import Port
from pileus.operations import debts
from pileus.operations.model import DebtRow
from pileus.operations.notifications import Notification
from pileus.placement.model import Allocation, Consumer
from tests.client import Client
from tests.unit.compute.servers.conftest import reported
from tests.unit.operations.world import Hosts, Replica
from tests.unit.serving import Serving

SERVERS = "/compute/v2.1/servers"
NEWEST = {"OpenStack-API-Version": "compute 2.104"}
OLD = {"OpenStack-API-Version": "compute 2.1"}
REFUSED = Failure(code="hypervisor", message="the host is not well")
MOVES: dict[str, Any] = {
    "resize": {"flavorRef": "84"},
    "migrate": None,
    "os-migrateLive": {"host": None, "block_migration": "auto"},
}
UNSUPPORTED = Failure(code="unsupported", message="The agent of host h does not know the command.")


class World:
    """A server of demo's that runs on host-0 or host-1, on hosts that the test plays."""

    def __init__(self, serving: Serving, admin: Client, demo: Client, boot: Callable[..., str]) -> None:
        self.serving, self.admin, self.demo = serving, admin, demo
        self.hosts = Hosts()
        self.replica = Replica(serving.db, self.hosts, registry=serving.cloud.runner._registry).begin()
        network = demo("POST", "/network/v2.0/networks", json={"network": {"name": "n"}}).json["network"]["id"]
        subnet = {"network_id": network, "ip_version": 4, "cidr": "10.0.0.0/24"}
        demo("POST", "/network/v2.0/subnets", json={"subnet": subnet})
        self.boot = lambda **values: boot(networks=[{"uuid": network}], **values)
        self.id = self.boot()
        self.replica.run()
        self.source = self.row().host or ""
        self.other = {"host-0": "host-1", "host-1": "host-0"}[self.source]

    def act(self, key: str, value: Any = None, user: Client | None = None, **headers: Any) -> Any:
        """POST .../action; the answer."""
        return (user or self.demo)("POST", f"{SERVERS}/{self.id}/action", json={key: value}, headers=headers or NEWEST)

    def done(self, key: str, value: Any = None, user: Client | None = None) -> None:
        """An action that is accepted, and carried out."""
        assert self.act(key, value, user).status_code in (202, 204)
        self.hosts.sent.clear()
        self.replica.run()

    def resize(self, flavor: str = "84") -> None:
        self.done("resize", {"flavorRef": flavor})

    def show(self, user: Client | None = None) -> dict[str, Any]:
        found: dict[str, Any] = (user or self.demo)("GET", f"{SERVERS}/{self.id}", headers=NEWEST).json["server"]
        return found

    def row(self) -> Server:
        with self.serving.db.read() as session:
            return session.get_one(Server, self.id)

    def migration(self) -> Migration:
        with self.serving.db.read() as session:
            return session.scalars(select(Migration).order_by(Migration.id.desc())).first()  # type: ignore[return-value]

    def migration_user(self) -> str:
        """Who asked for the first move."""
        with self.serving.db.read() as session:
            return session.scalars(select(Migration.user_id).order_by(Migration.id)).first() or ""

    def claims(self) -> dict[str, tuple[str, str, int]]:
        """Who holds what: consumer, its type, host and memory, by consumer."""
        with self.serving.db.read() as session:
            names = {host.provider_id: host.name for host in session.scalars(select(Host))}
            kinds = {one.id: one.consumer_type for one in session.scalars(select(Consumer))}
            memory = select(Allocation).where(Allocation.resource_class == "MEMORY_MB")
            return {
                row.consumer_id: (kinds[row.consumer_id], names[row.provider_id], row.used)
                for row in session.scalars(memory)
            }

    def used(self) -> tuple[int, int]:
        """Cores and memory that demo's project uses."""
        limits = self.demo("GET", "/compute/v2.1/limits").json["limits"]["absolute"]
        return limits["totalCoresUsed"], limits["totalRAMUsed"]

    def port(self) -> tuple[str, str]:
        """The host of the server's port, and its status."""
        with self.serving.db.read() as session:
            port = session.scalars(select(Port).where(Port.server_id == self.id)).one()
            return port.host, port.status

    def commands(self) -> list[tuple[str, str, int]]:
        """What hosts were sent: the command, the host, the incarnation."""
        return [(type(one.command).__name__, one.host, one.command.age) for one in self.hosts.sent]

    def fault(self) -> str:
        with self.serving.db.read() as session:
            return session.scalars(select(ServerFault).order_by(ServerFault.id.desc())).first().details  # type: ignore

    def debts(self) -> list[tuple[str, str]]:
        with self.serving.db.read() as session:
            hosts = DebtRow.host.startswith("host-")
            return [(row.host, row.name) for row in session.scalars(select(DebtRow).where(hosts))]

    def force_down(self, host: str, down: bool) -> None:
        """An administrator declares a host down, or takes that back."""
        with self.serving.db.write() as session:
            session.get_one(Host, host).forced_down = down

    def pay(self) -> None:
        """What is owed is due, and tried."""
        with self.serving.db.write() as session:
            for row in session.scalars(select(DebtRow)):
                row.next_try = row.next_try.replace(year=2020)
        self.replica.run()

    def refuse(self, *kinds: type, host: str = "", failure: Failure = REFUSED) -> None:
        """These commands fail from now on, on one host or on all."""

        def answer(envelope: Envelope) -> Failure | None:
            mine = isinstance(envelope.command, kinds) and host in ("", envelope.host)
            return failure if mine else None

        self.hosts.automatic = answer


@pytest.fixture
def world(serving: Serving, admin: Client, demo: Client, boot: Callable[..., str]) -> World:
    return World(serving, admin, demo, boot)


# --- what is seen, claimed and counted ------------------------------------------------------------------------------


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


def test_who_may_do_what_when(world: World) -> None:
    assert world.act("confirmResize").status_code == world.act("revertResize").status_code == 409
    assert world.act("migrate").status_code == 403
    world.act("lock")
    assert world.act("resize", {"flavorRef": "84"}).status_code == 409
    world.act("unlock")
    assert world.act("resize", {"flavorRef": "84", "host": "host-1"}).status_code == 400
    assert world.act("resize", {"flavorRef": "84"}).status_code == 202
    assert world.act("resize", {"flavorRef": "84"}).status_code == 409
    world.replica.run()
    for key, value in (("resize", {"flavorRef": "42"}), ("os-stop", None), ("createImage", {"name": "i"})):
        assert world.act(key, value).status_code == 409, key
    assert world.act("confirmResize").status_code == 204
    world.replica.run()
    with world.serving.db.write() as session:
        session.get_one(Server, world.id).vm_state = "resized"
    for key in ("confirmResize", "revertResize"):
        answer = world.act(key)
        assert answer.status_code == 400
        assert answer.json["badRequest"]["message"] == "Instance has not been resized."


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


# --- what fails -----------------------------------------------------------------------------------------------------


def test_a_destination_that_refuses_gives_the_server_back(world: World) -> None:
    world.refuse(ReceiveGuest)
    world.resize()
    assert world.commands() == [
        ("StashGuest", world.source, 2),
        ("ReceiveGuest", world.other, 3),
        ("DiscardGuest", world.other, 3),
        ("RestoreGuest", world.source, 4),
    ]
    discard, restore = (one.command for one in world.hosts.sent[2:])
    assert isinstance(discard, DiscardGuest) and not discard.stash
    assert isinstance(restore, RestoreGuest) and restore.run and restore.guest.memory_mib == 192
    assert world.show()["status"] == "ACTIVE" and world.show()["flavor"]["original_name"] == "m1.nano"
    assert world.port() == (world.source, "ACTIVE") and world.used() == (1, 192)
    assert world.claims() == {world.id: ("INSTANCE", world.source, 192)}
    assert world.migration().status == "error" and "the host is not well" in world.fault()
    world.hosts.automatic = lambda envelope: None
    world.resize()
    assert world.commands() == [("StashGuest", world.source, 5), ("ReceiveGuest", world.other, 6)]


def test_the_source_does_not_run_while_the_destination_may(world: World) -> None:
    world.refuse(ReceiveGuest, DiscardGuest)
    world.resize()
    (restore,) = (one.command for one in world.hosts.sent if isinstance(one.command, RestoreGuest))
    assert not restore.run
    assert world.debts() == [(world.other, "discard guest")] and world.row().host == world.source


STARTS: list[tuple[str, str, Any]] = [
    ("active", "reboot", {"type": "HARD"}),
    ("active", "reboot", {"type": "SOFT"}),
    ("active", "shelve", None),
    ("stopped", "os-start", None),
    ("paused", "unpause", None),
    ("suspended", "resume", None),
    ("shelved", "unshelve", None),
    ("error", "reboot", {"type": "HARD"}),
    ("error", "rebuild", {}),
    ("active", "migrate", None),
    ("stopped", "resize", {"flavorRef": "84"}),
    ("active", "os-migrateLive", {"host": None, "block_migration": "auto"}),
]
"""What may start a guest, and a state that allows it."""


def test_nothing_starts_the_source_while_the_destination_may_run(world: World) -> None:
    world.refuse(ReceiveGuest, DiscardGuest)
    world.resize()
    assert world.debts() == [(world.other, "discard guest")]
    world.hosts.sent.clear()
    for state, key, value in STARTS:
        with world.serving.db.write() as session:
            server = session.get_one(Server, world.id)
            server.vm_state = state
            if key == "rebuild":
                value = {"imageRef": server.image_id}
        answer = world.act(key, value, world.admin)
        why = "has not ended yet" if key in MOVES else "may still run elsewhere"
        assert answer.status_code == 409 and why in answer.text, (key, answer.text)
    world.replica.run()
    assert not {name for name, _, _ in world.commands()} - {"DiscardGuest"}
    world.hosts.automatic = lambda envelope: None
    world.pay()
    assert world.debts() == []
    world.done("reboot", {"type": "HARD"})
    assert world.commands() == [("RebootGuest", world.source, 4)] and world.show()["status"] == "ACTIVE"


def test_a_debt_that_is_written_off_is_in_nobodys_way(world: World) -> None:
    world.refuse(ReceiveGuest, DiscardGuest)
    world.resize()
    assert world.act("reboot", {"type": "HARD"}).status_code == 409
    with world.serving.db.write() as session:
        for row in session.scalars(select(DebtRow).where(DebtRow.host == world.other)):
            debts.forget(session, row.id)
    world.done("reboot", {"type": "HARD"})
    assert world.show()["status"] == "ACTIVE"


@pytest.mark.parametrize("key", MOVES)
def test_no_move_begins_while_the_source_owes_the_guest_back(world: World, key: str) -> None:
    """It would strike out the restoration, and nobody would take the guest back."""
    world.refuse(ReceiveGuest, RestoreGuest)
    world.resize()
    assert world.debts() == [(world.source, "restore guest")]
    answer = world.act(key, MOVES[key], world.admin)
    assert answer.status_code == 409 and "has not ended yet" in answer.text
    world.hosts.automatic = lambda envelope: None
    world.hosts.sent.clear()
    world.pay()
    assert world.commands() == [("RestoreGuest", world.source, 4)] and world.debts() == []
    assert world.act(key, MOVES[key], world.admin).status_code == 202


def test_a_source_that_refuses_owes_the_guest_back(world: World) -> None:
    world.refuse(StashGuest, RestoreGuest)
    world.resize()
    assert world.show()["status"] == "ACTIVE" and world.debts() == [(world.source, "restore guest")]
    assert world.row().incarnation == 2 and world.migration().status == "error"


def test_delete_of_a_resized_server_discards_both(world: World) -> None:
    world.resize()
    world.hosts.sent.clear()
    assert world.demo("DELETE", f"{SERVERS}/{world.id}").status_code == 204
    world.replica.run()
    assert world.commands() == [("DiscardGuest", world.other, 3), ("DiscardGuest", world.source, 3)]
    assert all(isinstance(one.command, DiscardGuest) and one.command.stash for one in world.hosts.sent)
    assert world.claims() == {} and world.used() == (0, 0) and world.migration().status == "confirmed"


def test_delete_while_it_is_resized_takes_that_back_first(world: World) -> None:
    world.hosts.automatic = None
    world.act("resize", {"flavorRef": "d3"})
    world.replica.run()
    world.demo("DELETE", f"{SERVERS}/{world.id}")
    world.hosts.automatic = lambda envelope: None
    world.replica.run()
    assert world.row().deleted_at is not None and world.claims() == {} and world.used() == (0, 0)
    assert world.migration().status == "error"


def test_a_source_that_is_down_is_left_behind_when_it_is_confirmed(world: World) -> None:
    world.resize()
    world.hosts.automatic = lambda envelope: Failure(code="host-down", message="away")
    world.done("confirmResize")
    assert world.show()["status"] == "ACTIVE" and world.migration().status == "confirmed"
    assert world.debts() == [(world.source, "drop stash")]
    assert world.claims().keys() == {world.id}


def test_a_destination_of_an_earlier_release_gets_nothing(world: World) -> None:
    """It does not know what it is told: the server is where and as it was, and nothing is owed."""
    world.refuse(ReceiveGuest, host=world.other, failure=UNSUPPORTED)
    world.resize()
    shown = world.show(world.admin)
    assert (shown["status"], shown["OS-EXT-STS:task_state"]) == ("ACTIVE", None)
    assert shown["OS-EXT-SRV-ATTR:host"] == world.source and world.migration().status == "error"
    assert "does not know the command" in world.fault() and world.debts() == []
    assert world.claims() == {world.id: ("INSTANCE", world.source, 192)}


def test_a_source_of_an_earlier_release_keeps_its_server(world: World) -> None:
    """It knows neither what it is told nor how that is taken back: the latter is owed until it is of this release."""
    world.refuse(StashGuest, RestoreGuest, host=world.source, failure=UNSUPPORTED)
    world.resize()
    assert world.show()["status"] == "ACTIVE" and world.debts() == [(world.source, "restore guest")]
    assert "does not know the command" in world.fault()
    world.refuse(host=world.source)
    world.done("reboot", {"type": "HARD"})
    assert world.commands()[0][:2] == ("RestoreGuest", world.source), "what is owed comes first"
    assert world.show()["status"] == "ACTIVE"


def test_confirming_that_failed_can_only_be_asked_for_again(world: World) -> None:
    world.resize()
    world.refuse(DropStash)
    world.done("confirmResize")
    assert world.show()["status"] == "VERIFY_RESIZE" and world.act("revertResize").status_code == 400
    world.hosts.automatic = lambda envelope: None
    world.done("confirmResize")
    assert world.show()["status"] == "ACTIVE"


def test_reverting_that_failed_can_only_be_asked_for_again(world: World) -> None:
    world.resize()
    world.refuse(RestoreGuest)
    world.done("revertResize")
    assert world.show()["status"] == "VERIFY_RESIZE" and world.act("confirmResize").status_code == 400
    world.hosts.automatic = lambda envelope: None
    world.done("revertResize")
    assert world.show()["status"] == "ACTIVE" and world.row().host == world.source
    assert world.claims() == {world.id: ("INSTANCE", world.source, 192)}


def test_nothing_is_reverted_while_the_source_is_away(world: World) -> None:
    world.resize()
    world.force_down(world.source, True)
    world.done("revertResize")
    assert world.commands() == [] and world.show()["status"] == "VERIFY_RESIZE"
    world.done("confirmResize")
    assert world.show()["status"] == "ACTIVE"


@pytest.mark.parametrize("state", ["active", "error"])
def test_a_state_that_was_reset_settles_the_move(world: World, state: str) -> None:
    """It can be neither confirmed nor reverted any more: what it holds is freed."""
    world.resize()
    world.act("os-resetState", {"state": state}, world.admin)
    answer = world.act("reboot", {"type": "HARD"})
    assert answer.status_code == 409, "not before it is settled which of two hosts has the guest"
    world.hosts.sent.clear()
    world.pay()
    assert world.commands() == [("DropStash", world.source, 2)] and world.debts() == []
    assert world.migration().status == "confirmed" and world.used() == (1, 256)
    assert world.claims() == {world.id: ("INSTANCE", world.other, 256)}
    world.done("reboot", {"type": "HARD"})
    world.done("migrate", user=world.admin)
    assert world.show()["status"] == "VERIFY_RESIZE"


def test_a_state_that_was_reset_settles_nothing_while_the_servers_host_is_away(world: World) -> None:
    """What is set aside on the source may be all that is left."""
    world.resize()
    world.hosts.sent.clear()
    world.force_down(world.other, True)
    world.act("os-resetState", {"state": "error"}, world.admin)
    world.pay()
    assert world.commands() == [] and world.migration().status == "finished"
    world.force_down(world.other, False)
    world.pay()
    assert world.commands() == [("DropStash", world.source, 2)] and world.migration().status == "confirmed"


@pytest.mark.parametrize("silent", [RestoreGuest, DiscardGuest])
def test_a_state_that_was_reset_amid_a_revert_reverts_the_move(world: World, silent: type) -> None:
    """The destination's guest may be gone: what is set aside is all that there is, and is not dropped by a move."""
    world.resize()
    world.refuse(silent, failure=Failure(code="host-down", message="away"))
    world.done("revertResize")
    assert world.migration().status == "reverting"
    world.act("os-resetState", {"state": "active"}, world.admin)
    assert world.act("migrate", user=world.admin).status_code == 409
    world.pay()
    assert world.row().host == world.source and world.migration().status == "reverted"
    assert world.claims() == {world.id: ("INSTANCE", world.source, 192)} and world.used() == (1, 192)
    assert world.port()[0] == world.source
    assert world.act("migrate", user=world.admin).status_code == 409, "the source still owes the guest"
    world.hosts.automatic = lambda envelope: None
    world.pay()
    assert world.debts() == [] and ("DropStash", world.source, 2) not in world.commands()
    restores = [one.command for one in world.hosts.sent if isinstance(one.command, RestoreGuest)]
    assert restores[-1].age == 4 and restores[-1].run == (silent is RestoreGuest), "only once the other is gone"
    world.done("migrate", user=world.admin)
    assert world.commands()[:2] == [("StashGuest", world.source, 5), ("ReceiveGuest", world.other, 6)]


def test_what_was_to_be_restored_is_not_dropped_by_a_move(world: World) -> None:
    """Though the debt that was to settle it was written off."""
    world.resize()
    world.refuse(RestoreGuest)
    world.done("revertResize")
    world.act("os-resetState", {"state": "active"}, world.admin)
    with world.serving.db.write() as session:
        for row in session.scalars(select(DebtRow)):
            debts.forget(session, row.id)
    world.done("migrate", user=world.admin)
    assert "DropStash" not in [name for name, _, _ in world.commands()]


# --- by itself, and what hosts report -------------------------------------------------------------------------------


def test_what_waits_too_long_is_confirmed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.resize()
    assert confirm_due(world.serving.db, 0) == confirm_due(world.serving.db, 60) == 0
    with world.serving.db.write() as session:
        session.scalars(select(Migration)).one().updated_at = clock.utcnow().replace(year=2020)
    assert confirm_due(world.serving.db, 60) == 1
    assert confirm_due(world.serving.db, 60) == 0, "another replica does so already"
    world.replica.run()
    assert world.show()["status"] == "ACTIVE" and confirm_due(world.serving.db, 60) == 0
    actions = world.demo("GET", f"{SERVERS}/{world.id}/os-instance-actions").json["instanceActions"]
    assert [one["action"] for one in actions] == ["confirmResize", "resize", "create"]


def test_nothing_is_confirmed_by_itself_while_the_servers_host_is_away(world: World) -> None:
    """What is set aside on the source may be all that is left."""
    world.resize()
    with world.serving.db.write() as session:
        session.scalars(select(Migration)).one().updated_at = utcnow().replace(year=2020)
    world.force_down(world.other, True)
    assert confirm_due(world.serving.db, 60) == 0
    world.force_down(world.other, False)
    assert confirm_due(world.serving.db, 60) == 1


def test_what_is_set_aside_is_accounted_for(world: World) -> None:
    world.resize()

    def report() -> list[str]:
        left = GuestReport(server_id=world.id, power_state=None, incarnation=2)
        there = GuestReport(server_id=world.id, power_state=1, incarnation=3)
        told = {world.source: (left,), world.other: (there,)}
        hosts_of = reported(2)
        told_hosts = tuple(
            type(one)(**{name: getattr(one, name) for name in one.__struct_fields__} | {"guests": told[one.name]})
            for one in hosts_of.hosts
        )
        with world.serving.db.write() as session:
            later = utcnow().replace(year=2100)
            hosts.register(session, AgentReport(started=0.0, network="fake", hosts=told_hosts), later)
        with world.serving.db.read() as session:
            return [row.host for row in session.scalars(select(UnknownGuest))]

    assert report() == []
    world.done("confirmResize")
    assert report() == [world.source]


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
