"""Unknown guests: shown, and touched only when an operator says so."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import delete, select

from pileus.agent.commands import (
    AgentReport,
    GuestPort,
    GuestReport,
    GuestSpec,
    HostReport,
    ImageSource,
    InstanceData,
    Inventory,
    PowerState,
)
from pileus.compute import flavors, hosts, spec, unknown
from pileus.compute.actions.power import stop
from pileus.compute.model import Server
from pileus.compute.snapshots import ImageSnapshot
from pileus.compute.states import ACTIVE, STOPPED
from pileus.db import Session, utcnow
from pileus.errors import Conflict, Invalid, NotFound
from pileus.identity.model import Project, User
from pileus.network import networks, ports, server_ports, subnets, wiring
from pileus.network.model import Port
from pileus.operations import OperationRow, Origin, debts
from pileus.operations.model import DebtRow
from pileus.placement import allocations
from tests.unit.serving import Serving

GUEST = "11111111-2222-4333-8444-555555555555"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFCbTWtUOVl0Ohk2TBwpAb6k9x1LHwyWHX4O8QU3Sihp u@h"
IMAGE = ImageSource(id="i-1", location="file:///i", disk_format="raw", size_bytes=512, sha512="0" * 128)


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    """A transaction of a cloud with one host."""
    serving = Serving(tmp_path)
    with serving.db.write() as session:
        flavors.bootstrap(session)
        report(session)
        yield session


def report(session: Session, *guests: GuestReport) -> None:
    """The host says what it has."""
    inventories = {"VCPU": Inventory(total=4), "MEMORY_MB": Inventory(total=1024), "DISK_GB": Inventory(total=10)}
    host = HostReport(
        name="host-1", hypervisor_type="fake", hypervisor_version=1, host_ip="127.0.0.1", inventories=inventories,
        guests=guests,
    )  # fmt: skip
    hosts.register(session, AgentReport(started=0.0, network="fake", hosts=(host,)), utcnow())
    session.flush()


def running(incarnation: int = 3, power_state: int | None = PowerState.RUNNING) -> GuestReport:
    return GuestReport(server_id=GUEST, power_state=power_state, incarnation=incarnation)


def project(session: Session, name: str = "demo") -> str:
    return session.scalars(select(Project.id).where(Project.name == name)).one()


def told(session: Session, data: dict[str, Any] | None = None, **changes: Any) -> GuestSpec:
    """What the guest's host remembers of it: sizes of m1.micro, unless changed."""
    about = {"hostname": "web", "name": "Web", "project_id": project(session), "metadata": {"role": "web"}}
    fields = {
        "server_id": GUEST, "incarnation": 3, "instance_name": "instance-0000002a", "vcpus": 1, "memory_mib": 256,
        "root_gib": 1, "image": IMAGE, "data": InstanceData(**about | (data or {})),
    }  # fmt: skip
    return GuestSpec(**fields | changes)


def adopt(session: Session, spec: GuestSpec, **wanted: Any) -> unknown.Adopted:
    adopted = unknown.adopt(session, "host-1", GUEST, spec, "req-1", **wanted)
    session.flush()
    return adopted


def a_server(session: Session, **values: Any) -> Server:
    """A server with the guest's id, on the host."""
    now = utcnow()
    fields = {
        "id": GUEST, "number": 1, "name": "s", "hostname": "s", "project_id": project(session), "user_id": "u",
        "reservation_id": "r", "vm_state": ACTIVE, "power_state": 1, "host": "host-1", "incarnation": 3,
        "flavor": flavors.snapshot(flavors.named(session, "m1.micro")), "image": ImageSnapshot(), "networks": [],
        "security_groups": [], "created_at": now, "updated_at": now, "launched_at": now,
    }  # fmt: skip
    server = Server(**fields | values)
    session.add(server)
    session.flush()
    return server


def shown(session: Session) -> list[tuple[str, str, int, int | None]]:
    rows = unknown.everyone(session)
    return [(row.host, row.server_id, row.incarnation, row.power_state) for row in rows]


def owed(session: Session) -> list[tuple[str, str, str, dict[str, Any]]]:
    session.flush()
    return [(row.host, row.subject_id, row.name, row.arguments) for row in debts.open_debts(session)]


# --- shown ----------------------------------------------------------------------------------------------------


def test_what_no_row_accounts_for_is_shown_and_owed_nothing(session: Session) -> None:
    report(session, running())
    assert shown(session) == [("host-1", GUEST, 3, 1)]
    assert owed(session) == []
    since = unknown.get(session, "host-1", GUEST).first_seen
    report(session, running(power_state=None))
    assert shown(session) == [("host-1", GUEST, 3, None)]
    assert unknown.get(session, "host-1", GUEST).first_seen == since
    report(session)
    assert shown(session) == []


def test_the_guest_of_a_server_is_not_unknown_an_older_one_is(session: Session) -> None:
    a_server(session)
    report(session, running(incarnation=3))
    assert shown(session) == []
    report(session, running(incarnation=2))
    assert shown(session) == [("host-1", GUEST, 2, 1)]
    assert owed(session) == []


# --- discarded ------------------------------------------------------------------------------------------------


def test_discard_condemns_the_incarnation_that_is_there(session: Session) -> None:
    report(session, running())
    unknown.discard(session, "host-1", GUEST)
    wanted = {"server_id": GUEST, "incarnation": 3}
    assert owed(session) == [("host-1", GUEST, "discard guest", wanted)]
    assert shown(session) == []
    report(session, running())
    assert shown(session) == [], "while it is owed, a row says what becomes of it"


def test_discard_of_what_is_not_unknown(session: Session) -> None:
    with pytest.raises(NotFound, match="reports no unknown guest"):
        unknown.discard(session, "host-1", GUEST)


@pytest.mark.parametrize("there", [0, 3, 4])
def test_discard_never_takes_a_servers_own_guest(session: Session, there: int) -> None:
    report(session, running(incarnation=there))
    a_server(session)
    with pytest.raises(Conflict, match="the guest of server"):
        unknown.discard(session, "host-1", GUEST)
    assert owed(session) == [] and shown(session) != []


def test_discard_of_a_servers_older_guest_and_of_one_on_another_host(session: Session) -> None:
    server = a_server(session)
    report(session, running(incarnation=2))
    unknown.discard(session, "host-1", GUEST)
    assert owed(session)[0][3]["incarnation"] == 2
    assert (server.host, server.incarnation) == ("host-1", 3)
    assert server.vm_state == STOPPED, "its own guest is not there"
    session.execute(delete(DebtRow))
    server.host = None
    report(session, running(incarnation=3))
    unknown.discard(session, "host-1", GUEST)
    assert owed(session)[0][3]["incarnation"] == 3


# --- adopted --------------------------------------------------------------------------------------------------


def test_adopt_makes_a_server_as_the_guest_is(session: Session) -> None:
    report(session, running())
    data = {"key_name": "mine", "public_key": KEY, "user_data": "QQ==", "admin_pass": None, "launch_index": 2}
    server = adopt(session, told(session, data, config_drive=True)).server
    assert session.get(Server, GUEST) is server
    assert (server.name, server.hostname, server.metadata_) == ("Web", "web", {"role": "web"})
    assert (server.vm_state, server.power_state, server.host, server.incarnation) == (ACTIVE, 1, "host-1", 3)
    assert server.project_id == project(session) and server.launched_at is not None
    assert session.get_one(User, server.user_id).name == "admin"
    assert (server.flavor.name, server.flavor.id) == ("m1.micro", "84")
    assert server.key is not None and server.key.public_key == KEY and server.key.fingerprint.count(":") == 15
    assert server.instance_name == "instance-0000002a", "the name it has on its host"
    (held,) = allocations.held(session, consumer_id=GUEST)
    assert (held.provider.name, held.resources) == ("host-1", {"VCPU": 1, "MEMORY_MB": 256, "DISK_GB": 1})
    (operation,) = session.scalars(select(OperationRow)).all()
    assert (operation.kind, operation.subject_id, operation.state) == ("server.adopt", GUEST, "succeeded")
    assert shown(session) == []
    report(session, running())
    assert shown(session) == [] and server.vm_state == ACTIVE


def test_an_adopted_server_is_specified_as_it_was(session: Session) -> None:
    """What its host is sent from now on is what it had."""
    report(session, running())
    data = {"key_name": "mine", "public_key": KEY, "user_data": "QQ=="}
    before = told(session, data, config_drive=True)
    adopt(session, before)
    after = spec.guest(session, GUEST)
    made = {"security_groups": after.data.security_groups}
    assert after == msgspec.structs.replace(before, data=msgspec.structs.replace(before.data, **made))


@pytest.mark.parametrize("power_state", [PowerState.SHUTDOWN, PowerState.CRASHED, None])
def test_adopt_what_does_not_run(session: Session, power_state: int | None) -> None:
    report(session, running(power_state=power_state))
    server = adopt(session, told(session)).server
    assert (server.vm_state, server.power_state) == (STOPPED, power_state or PowerState.SHUTDOWN)


def test_the_project_of_an_adopted_guest(session: Session) -> None:
    report(session, running())
    foreign = told(session, {"project_id": "of-another-cloud"})
    with pytest.raises(Invalid, match="of-another-cloud does not exist"):
        adopt(session, foreign)
    with pytest.raises(NotFound, match="project: nobody"):
        adopt(session, foreign, project="nobody")
    assert session.get(Server, GUEST) is None
    assert adopt(session, foreign, project="alt_demo").server.project_id == project(session, "alt_demo")


def test_the_flavor_of_an_adopted_guest(session: Session) -> None:
    report(session, running())
    with pytest.raises(NotFound):
        adopt(session, told(session), flavor="nope")
    with pytest.raises(Invalid, match="disks"):
        adopt(session, told(session), flavor="m1.small")
    server = adopt(session, told(session, vcpus=3), flavor="m1.nano").server
    assert (server.flavor.name, server.flavor.vcpus) == ("m1.nano", 1)


def test_a_guest_of_no_flavors_sizes(session: Session) -> None:
    report(session, running())
    server = adopt(session, told(session, vcpus=3, extra_specs={"hw:x": "1"})).server
    assert server.flavor.name == "unnamed"
    assert (server.flavor.vcpus, server.flavor.ram, server.flavor.extra_specs) == (3, 256, {"hw:x": "1"})
    assert flavors.like(session, flavors.named(session, "m1.nano")) is not None


def test_a_taken_number_is_not_given_twice(session: Session) -> None:
    a_server(session, id="another", number=0x2A)
    report(session, running())
    assert adopt(session, told(session)).server.number == 0x2B


def test_adopt_of_what_is_condemned_or_taken(session: Session) -> None:
    report(session, running())
    debts.owe(session, "host-1", GUEST, spec.discard.owed(server_id=GUEST, incarnation=3))
    with pytest.raises(Conflict, match="condemned by debt"):
        adopt(session, told(session))
    session.execute(delete(DebtRow))
    with pytest.raises(Conflict, match="remembers other"):
        adopt(session, told(session, server_id="other"))
    a_server(session, host=None)
    with pytest.raises(Conflict, match="on no host"):
        adopt(session, told(session))
    assert len(shown(session)) == 1


def test_a_deleted_server_makes_room_for_its_guest(session: Session) -> None:
    a_server(session, deleted_at=utcnow(), host=None, vm_state="deleted")
    report(session, running())
    assert adopt(session, told(session)).server.vm_state == ACTIVE
    assert len(session.scalars(select(Server)).all()) == 1


# --- given back to a server of an older backup ----------------------------------------------------------------


def test_a_server_that_is_older_than_its_guest_gets_it_back(session: Session) -> None:
    server = a_server(session, incarnation=2, vm_state=STOPPED)
    report(session, running())
    assert shown(session) == [("host-1", GUEST, 3, 1)]
    assert adopt(session, told(session)).server is server
    assert (server.incarnation, server.vm_state, server.number) == (3, ACTIVE, 1)
    report(session, running())
    assert shown(session) == []


def test_not_while_something_is_under_way_or_if_the_guest_is_older(session: Session) -> None:
    server = a_server(session, incarnation=2)
    report(session, running())
    stop.start(session, Origin("req", None, None), GUEST, timeout_s=1.0)
    session.flush()
    with pytest.raises(Conflict, match="under way"):
        adopt(session, told(session))
    server.incarnation = 4
    with pytest.raises(Conflict, match="can only be discarded"):
        adopt(session, told(session))


# --- ports ----------------------------------------------------------------------------------------------------


@pytest.fixture
def wired(session: Session) -> Callable[..., tuple[GuestPort, ...]]:
    """A network of demo's, and what a host remembers of a guest's ports there; the ports are gone since."""

    def make(count: int = 1) -> tuple[GuestPort, ...]:
        values = {"project_id": project(session), "name": "net"}
        network = networks.create(session, values)
        subnets.create(session, {"network_id": network.id, "project_id": project(session), "ip_version": 4,
                                 "cidr": "10.0.0.0/24"})  # fmt: skip
        session.flush()
        made = [
            ports.create(session, {"network_id": network.id, "project_id": project(session), "device_id": GUEST})
            for _ in range(count)
        ]
        for position, port in enumerate(made):
            server_ports.give(port, GUEST, position)
        session.flush()
        remembered = wiring.guest_ports(session, [GUEST])[GUEST]
        for port in made:
            session.delete(port)
        session.flush()
        session.expire_all()
        return remembered

    return make


def test_ports_are_had_again(session: Session, wired: Callable[..., tuple[GuestPort, ...]]) -> None:
    before = wired(2)
    report(session, running())
    adopted = adopt(session, told(session, ports=before))
    assert (adopted.ports, adopted.lost) == (2, [])
    after = wiring.guest_ports(session, [GUEST])[GUEST]
    for old, new in zip(before, after, strict=True):
        assert (new.port.id, new.port.mac_address, new.port.fixed_ips) == (
            old.port.id, old.port.mac_address, old.port.fixed_ips,
        )  # fmt: skip
        assert (new.port.host, new.port.device_owner, new.port.revision > old.port.revision) == (
            "host-1", "compute:nova", True,
        )  # fmt: skip
        assert len(new.port.security_group_ids) == 1
    rows = session.scalars(select(Port).where(Port.device_id == GUEST)).all()
    assert all(row.created_by_compute and row.status == "ACTIVE" for row in rows)
    assert [row.network.wired for row in rows] == [True, True]
    network_debts = [(name, subject) for host, subject, name, _ in owed(session) if host == debts.NETWORK]
    assert network_debts == [("sync port", one.port.id) for one in before]
    assert ("host-1", GUEST, "update instance data", {"server_id": GUEST, "host": "host-1"}) in owed(session)


def test_a_port_that_waits_for_its_guest_is_taken(
    session: Session, wired: Callable[..., tuple[GuestPort, ...]]
) -> None:
    (before,) = wired()
    own = ports.create(session, {
        "network_id": before.port.network_id, "project_id": project(session), "mac_address": before.port.mac_address,
        "fixed_ips": [{"ip_address": before.port.fixed_ips[0].ip_address}],
    })  # fmt: skip
    (same,) = wiring.wire(session, [own.id])
    report(session, running())
    told_port = msgspec.structs.replace(before, port=same.port)
    assert adopt(session, told(session, ports=(told_port,))).lost == []
    assert (own.device_id, own.host, own.created_by_compute) == (GUEST, "host-1", False)


def test_what_somebody_else_has_now_is_said_to_be_lost(
    session: Session, wired: Callable[..., tuple[GuestPort, ...]]
) -> None:
    address, mac, gone, kept, network_gone = wired(5)
    values = {"network_id": address.port.network_id, "project_id": project(session)}
    ports.create(session, values | {"fixed_ips": [{"ip_address": address.port.fixed_ips[0].ip_address}]})
    ports.create(session, values | {"mac_address": mac.port.mac_address})
    fixed = msgspec.structs.replace(gone.port.fixed_ips[0], subnet_id="gone")
    gone = msgspec.structs.replace(gone, port=msgspec.structs.replace(gone.port, fixed_ips=(fixed,)))
    elsewhere = msgspec.structs.replace(network_gone.port, network_id="gone")
    network_gone = msgspec.structs.replace(network_gone, port=elsewhere)
    report(session, running())
    adopted = adopt(session, told(session, ports=(address, mac, gone, kept, network_gone)))
    assert adopted.ports == 1 and [port.id for port in server_ports.of_server(session, GUEST)] == [kept.port.id]
    lost = (address, mac, gone, network_gone)
    words = ("already allocated", "has MAC", "subnet", "Network gone")
    for one, word, sentence in zip(lost, words, adopted.lost, strict=True):
        assert one.port.id in sentence and word in sentence
