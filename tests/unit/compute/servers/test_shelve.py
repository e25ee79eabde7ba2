"""Shelving: what is left of a server on its host and in the image store at every end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select

from pileus import clock
from pileus.agent.commands import BuildGuest, Envelope, Failure
from pileus.compute.actions import shelve
from pileus.compute.model import Server, ServerFault
from pileus.compute.states import ACTIVE, PAUSED, SHELVED, SHELVED_OFFLOADED, STOPPED, SUSPENDED
from pileus.image import images, snapshots
from pileus.image.model import Image
from pileus.network.model import Port
from pileus.operations import OperationRow
from pileus.operations.model import DebtRow
from pileus.placement.model import Consumer
from tests.client import Client
from tests.unit.compute.servers.test_endings import World
from tests.unit.operations.world import FakeClock
from tests.unit.serving import Serving

NEWEST = {"OpenStack-API-Version": "compute 2.104"}
OFFLOAD = ["StopGuest", "SnapshotGuest", "DiscardGuest"]


class Shelf(World):
    """A server of demo's that runs and has a port; what is there of it."""

    def __init__(self, serving: Serving, demo: Client, admin: Client, boot: Callable[..., str]) -> None:
        super().__init__(serving, demo, boot)
        serving.settings.shelved_offload_time = 0
        self.admin = admin
        network = demo("POST", "/network/v2.0/networks", json={"network": {"name": "n"}}).json["network"]["id"]
        subnet = {"network_id": network, "ip_version": 4, "cidr": "10.0.0.0/24"}
        demo("POST", "/network/v2.0/subnets", json={"subnet": subnet})
        self.server_id = boot(networks=[{"uuid": network}])
        self.replica.run()
        self.hosts.sent.clear()

    def act(self, key: str, body: Any = None, client: Client | None = None, version: str = "2.104") -> Any:
        """Ask for an action, and let it end."""
        headers = {"OpenStack-API-Version": f"compute {version}"}
        path = f"/compute/v2.1/servers/{self.server_id}/action"
        answer = (client or self.demo)("POST", path, json={key: body}, headers=headers)
        if answer.status_code == 202:
            assert answer.content == b""
            self.replica.run()
        return answer

    def begin(self, key: str) -> None:
        """Ask for an action whose first command no host answers."""
        self.hosts.automatic = None
        self.act(key)

    def refuse(self, *names: str, code: str = "hypervisor") -> None:
        """Have hosts refuse these commands."""

        def answer(envelope: Envelope) -> Failure | None:
            no = type(envelope.command).__name__ in names
            return Failure(code=code, message="the host is not well") if no else None

        self.hosts.automatic = answer

    def be(self, vm_state: str) -> None:
        with self.serving.db.write() as session:
            session.get_one(Server, self.server_id).vm_state = vm_state

    def sent(self) -> list[str]:
        """The commands that hosts were sent since the last look."""
        found = [type(one.command).__name__ for one in self.hosts.sent]
        self.hosts.sent.clear()
        return found

    def all(self, model: type[Any], *where: Any) -> list[Any]:
        with self.serving.db.read() as session:
            return list(session.scalars(select(model).where(*where)))

    def images(self) -> list[Image]:
        return self.all(Image, Image.name == "s-shelved")

    def where(self) -> tuple[str, str | None, list[str], int]:
        """Its vm_state, its host, those that its ports are bound to, and how many claims there are."""
        ports = [port.host for port in self.all(Port, Port.server_id == self.server_id)]
        return self.server().vm_state, self.server().host, ports, len(self.all(Consumer))

    def fault(self) -> str:
        return str(self.all(ServerFault)[-1].message)


@pytest.fixture
def shelf(
    serving: Serving, demo: Client, admin: Client, boot: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> Shelf:
    def publish(session: Any, image_id: str, url: str, made: Any) -> None:
        session.get_one(Image, image_id).status = "active"

    monkeypatch.setattr(snapshots, "publish", publish)  # there is no file
    return Shelf(serving, demo, admin, boot)


# --- shelve ---------------------------------------------------------------------------------------------------------


def test_it_leaves_its_host_at_once_and_keeps_its_ports(shelf: Shelf) -> None:
    before = shelf.demo("GET", "/compute/v2.1/limits").json["limits"]["absolute"]["totalInstancesUsed"]
    assert shelf.act("shelve").status_code == 202
    assert shelf.sent() == OFFLOAD
    assert shelf.where() == (SHELVED_OFFLOADED, None, [""], 0)
    [image] = shelf.images()
    server = shelf.server()
    assert (image.status, image.owner, image.properties["instance_uuid"]) == ("active", server.project_id, server.id)
    assert server.shelved_image_id == image.id and server.image_id != image.id and server.shelved_at is None
    assert shelf.demo("GET", "/compute/v2.1/limits").json["limits"]["absolute"]["totalInstancesUsed"] == before
    path = f"/compute/v2.1/servers/{server.id}"
    shown = shelf.admin("GET", path, headers=NEWEST).json["server"]
    assert (shown["status"], shown["hostId"], shown["OS-EXT-STS:power_state"]) == ("SHELVED_OFFLOADED", "", 4)
    assert shown["OS-EXT-SRV-ATTR:host"] is None and shown["OS-EXT-SRV-ATTR:hypervisor_hostname"] is None
    assert [one["addr"] for ones in shown["addresses"].values() for one in ones]
    actions = shelf.demo("GET", f"{path}/os-instance-actions").json["instanceActions"]
    assert [one["action"] for one in actions] == ["shelve", "create"]


def test_it_stays_on_its_host_if_it_is_to(shelf: Shelf) -> None:
    shelf.serving.settings.shelved_offload_time = -1
    host = shelf.server().host
    shelf.act("shelve")
    assert shelf.sent() == OFFLOAD[:2]
    assert shelf.where() == (SHELVED, host, [host], 1)
    assert shelf.act("shelveOffload").status_code == 403
    assert shelf.act("shelveOffload", client=shelf.admin).status_code == 202
    assert shelf.where() == (SHELVED_OFFLOADED, None, [""], 0)
    assert len(shelf.images()) == 1


@pytest.mark.parametrize("vm_state", [PAUSED, STOPPED, SUSPENDED])
def test_one_that_does_not_run_is_off_once_the_image_is_whole(shelf: Shelf, vm_state: str) -> None:
    shelf.be(vm_state)
    shelf.act("shelve")
    assert shelf.sent() == ["SnapshotGuest", "StopGuest", "DiscardGuest"]
    assert shelf.server().vm_state == SHELVED_OFFLOADED


def test_the_image_is_the_owners_whoever_asks(shelf: Shelf) -> None:
    shelf.act("shelve", client=shelf.admin)
    assert shelf.images()[0].owner == shelf.server().project_id
    assert shelf.act("unshelve").status_code == 202 and shelf.server().vm_state == ACTIVE


@pytest.mark.parametrize("command", ["StopGuest", "SnapshotGuest"])
def test_one_that_cannot_be_shelved_runs_again(shelf: Shelf, command: str) -> None:
    before = shelf.where()
    shelf.refuse(command)
    shelf.act("shelve")
    assert shelf.sent()[-2:] == [command, "StartGuest"]
    assert shelf.where() == before and shelf.server().shelved_image_id is None
    assert not shelf.images() and "the host is not well" in shelf.fault()


def test_why_it_could_not_be_shelved_is_said_though_it_does_not_run_again(shelf: Shelf) -> None:
    def refuse(envelope: Envelope) -> Failure:
        return Failure(code="hypervisor", message=f"no {envelope.command.method}")

    shelf.hosts.automatic = refuse
    shelf.act("shelve")
    assert shelf.sent() == ["StopGuest", "StartGuest"]
    assert shelf.fault() == "no power_off"


def test_a_held_one_that_cannot_be_shelved_stays_held(shelf: Shelf) -> None:
    shelf.be(PAUSED)
    shelf.refuse("SnapshotGuest")
    shelf.act("shelve")
    assert shelf.sent() == ["SnapshotGuest"]
    assert shelf.server().vm_state == PAUSED and not shelf.images()


def test_one_that_cannot_be_stopped_loses_its_image(shelf: Shelf) -> None:
    shelf.be(PAUSED)
    shelf.refuse("StopGuest")
    shelf.act("shelve")
    assert shelf.sent() == ["SnapshotGuest", "StopGuest"]
    assert shelf.server().vm_state == PAUSED and not shelf.images()


def test_one_whose_image_is_deleted_at_once_is_not_shelved(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    def publish(session: Any, image_id: str, url: str, made: Any) -> None:
        images.forget(session, session.get_one(Image, image_id))

    monkeypatch.setattr(snapshots, "publish", publish)
    before = shelf.where()
    shelf.act("shelve")
    assert shelf.sent() == ["StopGuest", "SnapshotGuest", "StartGuest"]
    assert shelf.where() == before and "not there any more" in shelf.fault()


@pytest.mark.parametrize("code", ["host-down", "hypervisor", "deadline"])
def test_a_host_that_does_not_give_the_guest_up_is_left_behind(shelf: Shelf, code: str) -> None:
    """Whether it has done it is not known: the server can only go on from its image."""
    shelf.refuse("DiscardGuest", code=code)
    incarnation = shelf.server().incarnation
    shelf.act("shelve")
    assert shelf.where() == (SHELVED_OFFLOADED, None, [""], 0)
    [debt] = [one for one in shelf.all(DebtRow) if one.name == "discard guest"]
    assert debt.arguments == {"server_id": shelf.server_id, "incarnation": incarnation}


# --- delete ---------------------------------------------------------------------------------------------------------


def delete(shelf: Shelf) -> None:
    shelf.hosts.automatic = lambda envelope: None
    assert shelf.demo("DELETE", f"/compute/v2.1/servers/{shelf.server_id}").status_code == 204
    shelf.replica.run()
    assert shelf.server().deleted_at is not None and not shelf.all(Port, Port.server_id == shelf.server_id)


@pytest.mark.parametrize("offload_time", [0, -1])
def test_a_shelved_one_is_deleted_with_its_image(shelf: Shelf, offload_time: int) -> None:
    shelf.serving.settings.shelved_offload_time = offload_time
    shelf.act("shelve")
    delete(shelf)
    assert not shelf.images() and not shelf.all(Consumer)


def test_a_protected_image_outlives_it(shelf: Shelf) -> None:
    shelf.act("shelve")
    with shelf.serving.db.write() as session:
        session.get_one(Image, shelf.images()[0].id).protected = True
    delete(shelf)
    assert len(shelf.images()) == 1


def test_delete_wins_over_shelve(shelf: Shelf) -> None:
    shelf.begin("shelve")
    assert [image.status for image in shelf.images()] == ["queued"]
    delete(shelf)
    assert not shelf.images()
    assert {row.kind: row.state for row in shelf.all(OperationRow)}["server.shelve"] == "cancelled"


def test_delete_wins_over_unshelve(shelf: Shelf) -> None:
    shelf.act("shelve")
    shelf.begin("unshelve")
    delete(shelf)
    assert not shelf.images() and not shelf.all(Consumer)
    assert {row.kind: row.state for row in shelf.all(OperationRow)}["server.unshelve"] == "cancelled"


# --- by itself ------------------------------------------------------------------------------------------------------


def set_status(shelf: Shelf, status: str) -> None:
    with shelf.serving.db.write() as session:
        session.get_one(Image, shelf.images()[0].id).status = status


def housekeeping(shelf: Shelf) -> None:
    shelf.serving.cloud._offload()
    shelf.replica.run()


def test_it_leaves_its_host_after_a_while(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf.serving.settings.shelved_offload_time = 600
    fake = FakeClock(shelf.serving.db)
    monkeypatch.setattr(clock, "current", fake)
    shelf.act("shelve")
    housekeeping(shelf)
    assert shelf.server().vm_state == SHELVED
    fake.move(601)
    set_status(shelf, "deactivated")
    housekeeping(shelf)
    assert shelf.server().vm_state == SHELVED
    set_status(shelf, "active")
    housekeeping(shelf)
    assert shelf.server().vm_state == SHELVED, "it is tried again after as long a time"
    fake.move(601)
    housekeeping(shelf)
    assert shelf.where() == (SHELVED_OFFLOADED, None, [""], 0)
    housekeeping(shelf)
    assert [row.kind for row in shelf.all(OperationRow)].count("server.shelveOffload") == 2


def test_it_does_not_leave_while_something_is_done_to_it(shelf: Shelf) -> None:
    shelf.serving.settings.shelved_offload_time = 600
    shelf.act("shelve")
    shelf.begin("unshelve")
    with shelf.serving.db.write() as session:
        shelve.offload(session, shelf.server_id)
    assert not [row for row in shelf.all(OperationRow) if row.kind == "server.shelveOffload"]
    with shelf.serving.db.write() as session:
        shelve.offload(session, "deleted meanwhile")


def test_one_whose_state_was_reset_stays(shelf: Shelf) -> None:
    shelf.serving.settings.shelved_offload_time = 600
    shelf.act("shelve")
    assert shelf.act("os-resetState", {"state": "active"}, shelf.admin).status_code == 202
    with shelf.serving.db.write() as session:
        shelve.offload(session, shelf.server_id)
    assert shelf.server().shelved_at is None and shelf.server().host
    first = shelf.images()[0].id
    shelf.act("shelve")
    assert [image.id for image in shelf.images()] == [shelf.server().shelved_image_id] != [first]


# --- unshelve -------------------------------------------------------------------------------------------------------


def test_one_that_is_on_its_host_is_started(shelf: Shelf) -> None:
    shelf.serving.settings.shelved_offload_time = -1
    host, launched = shelf.server().host, shelf.server().launched_at
    shelf.act("shelve")
    shelf.sent()
    shelf.act("unshelve")
    assert shelf.sent() == ["StartGuest"]
    assert shelf.where() == (ACTIVE, host, [host], 1) and not shelf.images()
    server = shelf.server()
    assert (server.shelved_image_id, server.shelved_at, server.launched_at) == (None, None, launched)


def disable(shelf: Shelf, host: str) -> None:
    [service] = shelf.admin("GET", f"/compute/v2.1/os-services?host={host}", headers=NEWEST).json["services"]
    path = f"/compute/v2.1/os-services/{service['id']}"
    assert shelf.admin("PUT", path, json={"status": "disabled"}, headers=NEWEST).status_code == 200


def test_another_is_built_of_its_image_anywhere_else(shelf: Shelf) -> None:
    """Draining: nothing new comes to a disabled host."""
    before = shelf.server()
    address = shelf.demo("GET", f"/compute/v2.1/servers/{before.id}").json["server"]["addresses"]
    disable(shelf, before.host or "")
    shelf.act("shelve", client=shelf.admin)
    [image], _ = shelf.images(), shelf.hosts.sent.clear()
    shelf.act("unshelve")
    [build] = [one.command for one in shelf.hosts.sent if isinstance(one.command, BuildGuest)]
    assert build.guest.image and build.guest.image.id == image.id and build.guest.image.disk_format == "qcow2"
    after = shelf.server()
    assert after.host not in (None, before.host) and after.incarnation == before.incarnation + 1
    assert after.launched_at and before.launched_at and after.launched_at > before.launched_at
    assert shelf.where() == (ACTIVE, after.host, [after.host], 1)
    assert after.image_id == before.image_id and not shelf.images()
    shown = shelf.demo("GET", f"/compute/v2.1/servers/{before.id}").json["server"]
    assert shown["addresses"] == address and shown["status"] == "ACTIVE"
    assert [port.status for port in shelf.all(Port, Port.server_id == before.id)] == ["ACTIVE"]


def test_one_without_ports_gets_none(shelf: Shelf) -> None:
    [port] = shelf.all(Port, Port.server_id == shelf.server_id)
    assert shelf.demo("DELETE", f"/network/v2.0/ports/{port.id}").status_code == 204
    shelf.act("shelve")
    shelf.act("unshelve")
    assert shelf.where()[2] == [] and shelf.server().vm_state == ACTIVE


def test_one_that_no_host_can_take_stays_where_it_is(shelf: Shelf) -> None:
    shelf.act("shelve")
    for one in ("host-0", "host-1"):
        disable(shelf, one)
    shelf.act("unshelve")
    assert shelf.where() == (SHELVED_OFFLOADED, None, [""], 0)
    assert shelf.fault().startswith("No valid host was found") and len(shelf.images()) == 1


def test_one_that_cannot_be_built_leaves_nothing(shelf: Shelf) -> None:
    shelf.act("shelve")
    shelf.sent()
    shelf.refuse("BuildGuest")
    shelf.act("unshelve")
    assert shelf.sent() == ["BuildGuest", "DiscardGuest"] * 2, "both hosts are tried"
    assert shelf.where() == (SHELVED_OFFLOADED, None, [""], 0)
    assert len(shelf.images()) == 1 and "the host is not well" in shelf.fault()
    shelf.refuse()
    assert shelf.act("unshelve").status_code == 202 and shelf.server().vm_state == ACTIVE


def test_the_next_host_is_tried(shelf: Shelf) -> None:
    shelf.act("shelve")

    def refuse(envelope: Envelope) -> Failure | None:
        first = isinstance(envelope.command, BuildGuest) and envelope.command.age == 2
        return Failure(code="hypervisor", message="the host is not well") if first else None

    shelf.sent()
    shelf.hosts.automatic = refuse
    shelf.act("unshelve")
    hosts = [one.host for one in shelf.hosts.sent]
    assert shelf.sent() == ["BuildGuest", "DiscardGuest", "BuildGuest"] and hosts[0] == hosts[1] != hosts[2]
    assert shelf.where() == (ACTIVE, hosts[2], [hosts[2]], 1) and not shelf.images()


def test_one_that_is_to_go_to_a_host_is_built_nowhere_else(shelf: Shelf) -> None:
    shelf.act("shelve")
    shelf.sent()
    shelf.refuse("BuildGuest")
    shelf.act("unshelve", {"host": "host-1"}, shelf.admin)
    assert shelf.sent() == ["BuildGuest", "DiscardGuest"]


def test_one_whose_image_is_gone_keeps_what_there_is(shelf: Shelf) -> None:
    shelf.serving.settings.shelved_offload_time = -1
    shelf.act("shelve")
    [image] = shelf.images()
    set_status(shelf, "deactivated")
    shelf.act("shelveOffload", client=shelf.admin)
    assert shelf.server().vm_state == SHELVED and "not there any more" in shelf.fault()
    set_status(shelf, "active")
    shelf.act("shelveOffload", client=shelf.admin)
    assert shelf.demo("DELETE", f"/image/v2/images/{image.id}").status_code == 204
    answer = shelf.act("unshelve")
    assert answer.status_code == 409 and "not there any more" in answer.json["conflictingRequest"]["message"]


# --- where to -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "body", "status"),
    [
        ("2.1", {"availability_zone": "elsewhere"}, 202),
        ("2.76", None, 202),
        ("2.77", {}, 400),
        ("2.77", {"availability_zone": None}, 400),
        ("2.77", {"availability_zone": "elsewhere"}, 400),
        ("2.77", {"availability_zone": "nova"}, 202),
        ("2.90", {"host": "host-1"}, 400),
        ("2.91", {}, 400),
        ("2.91", {"availability_zone": None}, 202),
        ("2.91", {"host": "host-1"}, 403),
        ("2.91", {"availability_zone": "nova", "host": "host-1"}, 403),
    ],
)
def test_what_a_body_may_say(shelf: Shelf, version: str, body: Any, status: int) -> None:
    shelf.act("shelve")
    answer = shelf.act("unshelve", body, version=version)
    assert answer.status_code == status, answer.text


def test_zones_and_hosts(shelf: Shelf) -> None:
    aggregate = {"aggregate": {"name": "a", "availability_zone": "east"}}
    number = shelf.admin("POST", "/compute/v2.1/os-aggregates", json=aggregate).json["aggregate"]["id"]
    free = "host-1" if shelf.server().host == "host-0" else "host-0"
    action = {"add_host": {"host": free}}
    assert shelf.admin("POST", f"/compute/v2.1/os-aggregates/{number}/action", json=action).status_code == 200
    shelf.act("shelve")

    def to(**body: Any) -> Any:
        return shelf.act("unshelve", body, shelf.admin)

    nowhere = to(host="host-9")
    assert nowhere.status_code == 400 and "host-9 could not be found" in nowhere.json["badRequest"]["message"]
    torn = to(availability_zone="nova", host=free)
    assert torn.status_code == 409 and "is not in the availability zone" in torn.json["conflictingRequest"]["message"]
    assert to(availability_zone="east", host=free).status_code == 202
    assert (shelf.server().host, shelf.server().availability_zone) == (free, "east")
    shelf.act("shelve")
    other = "host-0" if free == "host-1" else "host-1"
    assert to(host=other).status_code == 409, "it is pinned to the zone now"
    assert to(availability_zone=None, host=other).status_code == 202
    assert (shelf.server().host, shelf.server().availability_zone) == (other, None)
    shelf.act("shelve")
    assert shelf.act("unshelve", {"availability_zone": "east"}).status_code == 202
    assert shelf.server().host == free, "the host that was asked for before counts no more"


def test_one_that_is_on_its_host_goes_nowhere(shelf: Shelf) -> None:
    shelf.serving.settings.shelved_offload_time = -1
    shelf.act("shelve")
    answer = shelf.act("unshelve", {"availability_zone": "nova"})
    assert answer.status_code == 409 and "SHELVED_OFFLOADED" in answer.json["conflictingRequest"]["message"]


def test_what_is_refused_meanwhile(shelf: Shelf) -> None:
    shelf.act("shelve")
    bodies: dict[str, Any] = {
        "shelve": None, "os-start": None, "os-stop": None, "reboot": {"type": "HARD"}, "pause": None,
        "createImage": {"name": "i"}, "rebuild": {"imageRef": shelf.server().image_id},
        "os-getConsoleOutput": {},
    }  # fmt: skip
    for key, body in bodies.items():
        assert shelf.act(key, body).status_code == 409, key
    path = f"/compute/v2.1/servers/{shelf.server_id}"
    assert shelf.demo("POST", f"{path}/os-interface", json={"interfaceAttachment": {}}).status_code == 409
    assert shelf.demo("POST", f"{path}/metadata", json={"metadata": {"k": "v"}}).status_code == 409
    assert shelf.demo("PUT", path, json={"server": {"name": "t"}}).status_code == 200
    assert shelf.act("lock").status_code == 202 and shelf.act("unshelve").status_code == 409
    assert shelf.act("unlock").status_code == 202 and shelf.act("unshelve").status_code == 202
