"""A database of the first release with operations in flight is migrated: they go on, or are taken back, correctly."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from pileus.agent.commands import Answer, BuildGuest, DiscardGuest, Envelope
from pileus.cloud import Cloud
from pileus.compute import quotas as compute_quotas
from pileus.compute.actions.delete import delete
from pileus.compute.model import Server, ServerFault
from pileus.db import Database
from pileus.db.migrate import FOLDER, HEAD, upgrade, version
from pileus.network.model import Port
from pileus.operations import OperationRow, StepRow, cancel, live
from pileus.operations.debts import NETWORK
from pileus.operations.model import DebtRow, SubjectRow, WaitRow
from pileus.operations.start import start
from pileus.placement.model import Allocation, Consumer
from pileus.settings import Settings
from tests.unit import uses
from tests.unit.operations.world import ORIGIN

NOW = datetime(2026, 1, 2, 3, 4, 5)
SERVER = "11111111-2222-4333-8444-555555555555"
UNDOS = {
    "schedule": {"owed": {"do": "release claim", "arguments": {"server_id": SERVER}}, "host": None},
    "allocate network": {"owed": {"do": "give up network", "arguments": {"server_id": SERVER}}, "host": None},
    "build guest": {
        "owed": {"do": "discard guest", "arguments": {"server_id": SERVER, "incarnation": 0}},
        "host": "fake-1",
    },
}


class Former:
    """A database of the first release, filled by SQL; then a cloud of this one."""

    def __init__(self, folder: Path, url: str | None) -> None:
        (folder / "db").mkdir()
        self.folder = folder
        self.settings = Settings(state=str(folder), database=url or "")
        self.db = Database(self.settings.database_url)
        config = Config()
        config.set_main_option("script_location", str(FOLDER))
        with self.db.engine.begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "0001")
        self._tables = sa.MetaData()
        self._tables.reflect(self.db.engine)

    def insert(self, table: str, **values: Any) -> None:
        columns = self._tables.tables[table].columns
        times = {
            name: NOW
            for name in ("created_at", "updated_at", "last_seen", "started_at", "finished_at")
            if name in columns and name not in values and not columns[name].nullable
        }
        coded = {
            name: json.dumps(value) if isinstance(value, dict | list) and not _is_json(columns[name]) else value
            for name, value in (values | times).items()
        }
        with self.db.engine.begin() as connection:
            connection.execute(self._tables.tables[table].insert().values(**coded))

    def operation(self, id: str, kind: str, subject: str = SERVER, **values: Any) -> None:
        fields = {
            "request_id": f"req-{id}",
            "project_id": "p",
            "user_id": "u",
            "arguments": {},
            "state": "running",
            "attempt": 1,
            "lease_owner": "replica",
            "lease_until": NOW,
        }
        self.insert("operations", id=id, kind=kind, subject_id=subject, **fields | values)

    def step(self, operation_id: str, position: int, name: str, **values: Any) -> None:
        fields = {"undo": False, "outcome": "finished", "attempt": 1, "finished_at": NOW}
        self.insert("operation_steps", operation_id=operation_id, position=position, name=name, **fields | values)

    def upgraded(self) -> Now:
        assert upgrade(self.db, self.folder / "backups") == "0001"
        return Now(self)


class Now:
    """A cloud of this release on the migrated database; hosts are played by the test."""

    def __init__(self, former: Former) -> None:
        self.db = former.db
        self.cloud = Cloud(former.settings, self.db)
        self.runner, self.post = self.cloud.runner, self.cloud.post
        self.runner.begin()

    def run(self) -> None:
        while any([self.runner.take_up(), self.runner.work(0), self.runner.work_group(0)]):
            pass

    def sent(self) -> list[Envelope]:
        return [letter.envelope for letter in self.post.letters()]

    def answer(self) -> None:
        """The host does the one thing it was told to."""
        [envelope] = self.sent()
        self.post.withdraw(envelope.key)
        self.runner.answer(Answer(key=envelope.key, host=envelope.host, result={"power_state": 1}, at=1e10))
        self.run()

    def all(self, model: type[Any], *order: Any) -> list[Any]:
        with self.db.read() as session:
            return list(session.scalars(sa.select(model).order_by(*order)))

    def operation(self, id: str) -> OperationRow:
        with self.db.read() as session:
            return session.get_one(OperationRow, id)

    def server(self) -> Server:
        with self.db.read() as session:
            return session.get_one(Server, SERVER)

    def steps(self, id: str) -> list[StepRow]:
        return [one for one in self.all(StepRow, StepRow.id) if one.operation_id == id]

    def journal(self, id: str) -> list[str]:
        return [f"{'-' if one.undo else ''}{one.key} {one.outcome}" for one in self.steps(id)]

    def delete_wins(self) -> str:
        """The owner deletes the server."""
        with self.db.write() as session:
            under_way = live(session, SERVER, lock=True)
            for one in under_way:
                cancel(session, one)
            return start(session, delete.kind, ORIGIN, delete.arguments(SERVER), after=under_way).id


def _is_json(column: sa.Column[Any]) -> bool:
    return isinstance(column.type, sa.JSON)


@pytest.fixture
def former(tmp_path: Path, new_database: Callable[[], str | None]) -> Iterator[Former]:
    """The first release with one host, and a server on it that is being built."""
    former = Former(tmp_path, new_database())
    former.insert("resource_providers", id="rp", name="fake-1", generation=0)
    former.insert(
        "hosts", name="fake-1", id=1, service_id="service", provider_id="rp", zone="nova", hypervisor_type="fake",
        hypervisor_version=1, host_ip="127.0.0.1", cpu_info={}, disabled=False, forced_down=False,
    )  # fmt: skip
    flavor = {
        "id": "1", "original_name": "m1", "vcpus": 1, "ram": 64, "disk": 0, "ephemeral": 0, "swap": 0,
        "rxtx_factor": 1.0, "extra_specs": {},
    }  # fmt: skip
    former.insert(
        "servers", id=SERVER, number=1, name="s", hostname="s", project_id="p", user_id="u", reservation_id="r",
        launch_index=0, vm_state="building", power_state=0, host="fake-1", flavor=flavor, image={}, metadata={},
        tags=[], config_drive=False, disk_config="AUTO", networks=[], security_groups=[], scheduler_hints={},
    )  # fmt: skip
    former.insert("consumers", id=SERVER, project_id="p", user_id="u", consumer_type="INSTANCE", generation=1)
    former.insert("allocations", consumer_id=SERVER, provider_id="rp", resource_class="VCPU", used=1)
    yield former
    former.db.dispose()


def booting(former: Former, *done: str, **values: Any) -> None:
    """A boot in flight with these steps done."""
    arguments = {"server_id": SERVER, "attempts": 2, "plug_timeout_s": 60.0}
    former.operation("boot", "server.boot", task_state="spawning", arguments=arguments, **values)
    results = {
        "schedule": {"result": {"host": "fake-1"}},
        "allocate network": {"result": {"ports": []}},
        "build guest": {"result": {"power_state": 1}, "host": "fake-1"},
    }
    former.step("boot", -1, "accept", events=[])
    for position, name in enumerate(done):
        former.step("boot", position, name, **results[name])


def test_what_projects_use_is_counted(former: Former) -> None:
    """Of the rows that there are, and of what becomes of them."""
    now = former.upgraded()
    uses.compare(now.db)
    with now.db.write() as session:
        assert compute_quotas.QUOTAS.used(session, "p", "instances", "cores", "ram") == {
            "instances": 1, "cores": 1, "ram": 64
        }  # fmt: skip
        session.execute(sa.delete(Server))
        assert compute_quotas.QUOTAS.used(session, "p", "instances") == {"instances": 0}
    uses.compare(now.db)


def test_a_boot_with_three_steps_done_goes_on(former: Former) -> None:
    booting(former, "schedule", "allocate network", "build guest")
    now = former.upgraded()
    assert version(now.db) == HEAD
    steps = now.steps("boot")
    assert [(step.key, step.take_back) for step in steps] == [("accept", None), *UNDOS.items()]
    operation = now.operation("boot")
    assert (operation.version, operation.forward, operation.lease_owner, operation.not_before) == (1, False, None, None)
    assert [(one.subject_id, one.operation_id, one.task_state) for one in now.all(SubjectRow)] == [
        (SERVER, "boot", "spawning")
    ]
    now.run()
    assert now.sent() == [] and now.operation("boot").state == "succeeded"
    assert (now.server().vm_state, now.server().power_state, now.server().host) == ("active", 1, "fake-1")
    assert now.journal("boot")[1:] == [f"{key} finished" for key in (*UNDOS, "activate")]
    assert now.all(SubjectRow) == [] and len(now.all(Allocation)) == 1


def test_a_boot_with_three_steps_done_is_taken_back(former: Former) -> None:
    booting(former, "schedule", "allocate network", "build guest")
    now = former.upgraded()
    delete = now.delete_wins()
    now.run()
    [envelope] = now.sent()
    assert envelope.host == "fake-1" and envelope.command == DiscardGuest(server_id=SERVER)
    now.answer()
    assert now.operation("boot").state == "cancelled" and now.operation(delete).state == "succeeded"
    undone = ["-build guest finished", "-allocate network finished", "-schedule finished"]
    assert now.journal("boot")[-3:] == undone
    assert now.server().deleted_at is not None and now.server().host is None
    assert now.all(Allocation) == now.all(Consumer) == now.all(SubjectRow) == now.all(DebtRow) == []


def test_faults_of_servers_stay(former: Former) -> None:
    former.insert("server_faults", server_id=SERVER, code=500, message="broken")
    former.insert("server_faults", server_id=SERVER, code=500, message="again")
    now = former.upgraded()
    assert [fault.message for fault in now.all(ServerFault, ServerFault.id)] == ["broken", "again"]
    assert now.server().group_id is None


def test_a_boot_whose_host_is_building_goes_on(former: Former) -> None:
    booting(former, "schedule", "allocate network")
    now = former.upgraded()
    now.run()
    [envelope] = now.sent()
    assert isinstance(envelope.command, BuildGuest) and envelope.host == "fake-1"
    now.answer()
    assert now.server().vm_state == "active" and now.operation("boot").state == "succeeded"


@pytest.mark.parametrize("state", ["running", "undoing"])
def test_a_boot_whose_host_is_building_is_taken_back_with_its_guest(former: Former, state: str) -> None:
    """The former release journaled a command only with its answer: nothing says that the host was told."""
    booting(former, "schedule", "allocate network", state=state)
    now = former.upgraded()
    now.delete_wins()
    now.run()
    [envelope] = now.sent()
    assert (envelope.host, envelope.command) == ("fake-1", DiscardGuest(server_id=SERVER))
    now.answer()
    assert now.operation("boot").state == "cancelled" and now.server().deleted_at is not None
    assert now.all(Allocation) == now.all(SubjectRow) == []


def test_steps_that_come_several_times_are_told_apart(former: Former) -> None:
    booting(former, "schedule", "allocate network")
    error = {"code": "hypervisor", "message": "no"}
    former.step("boot", 2, "build guest", host="fake-1", outcome="failed", error=error)
    former.step("boot", 2, "build guest", host="fake-1", undo=True)
    former.step("boot", 1, "allocate network", undo=True)
    former.step("boot", 3, "leave host")
    former.step("boot", 4, "schedule", result={"host": "fake-1"})
    former.step("boot", 5, "allocate network", result={"ports": []})
    former.step("boot", 6, "build guest", result={"power_state": 1}, host="fake-1")
    now = former.upgraded()
    keys = {(step.position, step.undo): step.key for step in now.steps("boot")}
    assert keys == {
        (-1, False): "accept",
        (0, False): "schedule", (1, False): "allocate network", (2, False): "build guest",
        (2, True): "build guest", (1, True): "allocate network", (3, False): "leave host",
        (4, False): "schedule#2", (5, False): "allocate network#2", (6, False): "build guest#2",
    }  # fmt: skip
    assert all(step.take_back is None for step in now.steps("boot") if step.undo)
    now.run()
    assert now.sent() == [] and now.operation("boot").state == "succeeded" and now.server().vm_state == "active"


def test_what_a_lost_acknowledgement_had_written_twice_is_there_once(former: Former) -> None:
    booting(former, "schedule", "allocate network", "build guest")
    former.step("boot", 1, "allocate network", result={"ports": []})
    now = former.upgraded()
    assert now.journal("boot") == [f"{key} finished" for key in ("accept", *UNDOS)]
    now.run()
    assert now.operation("boot").state == "succeeded"


def test_a_delete_in_flight_goes_on(former: Former) -> None:
    former.operation("delete", "server.delete", task_state="deleting", arguments={"server_id": SERVER})
    former.step("delete", 0, "find host", result={"host": "fake-1"})
    now = former.upgraded()
    now.run()
    [envelope] = now.sent()
    assert (envelope.host, envelope.command) == ("fake-1", DiscardGuest(server_id=SERVER))
    now.answer()
    assert now.operation("delete").state == "succeeded" and now.server().deleted_at is not None
    assert now.all(Allocation) == now.all(SubjectRow) == now.all(DebtRow) == []


def test_a_power_action_in_flight_goes_on_without_the_host_it_was_begun_with(former: Former) -> None:
    arguments = {"server_id": SERVER, "host": "fake-1", "timeout_s": 60.0}
    former.operation("stop", "server.stop", task_state="powering-off", arguments=arguments)
    now = former.upgraded()
    assert now.operation("stop").arguments == {"server_id": SERVER, "timeout_s": 60.0}
    now.run()
    now.answer()
    assert now.operation("stop").state == "succeeded" and now.server().vm_state == "stopped"


def test_waits_are_kept_and_the_last_in_line_has_the_subject(former: Former) -> None:
    booting(former, "schedule", "allocate network", "build guest", state="undoing", created_at=NOW)
    later = NOW.replace(year=2027)
    arguments = {"server_id": SERVER}
    former.operation(
        "delete", "server.delete", state="pending", attempt=0, task_state="deleting", after_id="boot",
        arguments=arguments, created_at=later,
    )  # fmt: skip
    now = former.upgraded()
    assert [(one.operation_id, one.after_id) for one in now.all(WaitRow)] == [("delete", "boot")]
    assert [(one.operation_id, one.task_state) for one in now.all(SubjectRow)] == [("delete", "deleting")]
    now.run()
    assert now.operation("delete").state == "pending"
    now.answer()
    assert [now.operation(one).state for one in ("boot", "delete")] == ["cancelled", "succeeded"]


def test_the_finished_keep_their_steps(former: Former) -> None:
    former.operation("done", "server.boot", state="succeeded", finished_at=NOW, arguments={"host": "kept"})
    events = [{"name": "fetch image", "started": 1.0, "finished": 2.0}]
    for position, name in enumerate(("schedule", "build guest", "schedule")):
        former.step("done", position, name, events=events)
    now = former.upgraded()
    steps = now.steps("done")
    assert [(step.position, step.name, step.outcome, step.events) for step in steps] == [
        (0, "schedule", "finished", events),
        (1, "build guest", "finished", events),
        (2, "schedule", "finished", events),
    ]
    assert all(step.key == step.name and step.finished_at == NOW for step in steps)
    operation = now.operation("done")
    assert (operation.state, operation.finished_at, operation.arguments) == ("succeeded", NOW, {"host": "kept"})
    now.run()
    assert now.operation("done").attempt == 1 and now.all(SubjectRow) == now.all(DebtRow) == []


def test_what_only_told_an_agent_something_becomes_a_debt(former: Former) -> None:
    former.operation("net", "network.sync", "n1", arguments={"network_id": "n1"})
    former.operation("again", "network.drop", "n1", arguments={"network_id": "n1"})
    former.operation("port", "port.drop", "p1", arguments={"port_id": "p1"}, after_id="net")
    former.operation("told", "port.sync", "p2", state="succeeded", finished_at=NOW)
    former.operation("data", "guest.update_data", arguments={"server_id": SERVER, "host": "fake-1"})
    former.operation("reap", "guest.reap", "stray", arguments={"server_id": "stray", "host": "fake-1"})
    former.insert("network_unsynced", kind="security_group", subject_id="g1")
    former.insert("network_unsynced", kind="port", subject_id="p1")
    now = former.upgraded()
    owed = [(one.host, one.subject_id, one.name, one.arguments) for one in now.all(DebtRow, DebtRow.subject_id)]
    assert owed == [
        ("fake-1", SERVER, "update instance data", {"server_id": SERVER, "host": "fake-1"}),
        (NETWORK, "g1", "sync security group", {"group_id": "g1"}),
        (NETWORK, "n1", "sync network", {"network_id": "n1"}),
        (NETWORK, "p1", "sync port", {"port_id": "p1"}),
    ]
    assert all(one.finished_at is not None for one in now.all(OperationRow)) and now.all(SubjectRow) == []
    with now.db.write() as session:
        server = session.get_one(Server, SERVER)
        server.vm_state, server.host = "active", "fake-1"
    now.cloud.collector.collect()
    assert [one.subject_id for one in now.all(DebtRow)] == [SERVER], "the network is told; no agent is connected"


def test_bound_ports_are_owed_to_the_networks_database(former: Former) -> None:
    """The former release had them written there by the host that built the guest, which may not have come to it."""
    booting(former, "schedule", "allocate network")
    former.insert(
        "networks", id="n1", name="n", description="", project_id="p", mtu=1400, admin_state_up=True, shared=False,
        external=False, is_default=False, port_security_enabled=True, network_type="geneve", revision_number=1,
        wired=True,
    )  # fmt: skip
    for name, host in (("bound", "fake-1"), ("unbound", "")):
        former.insert(
            "ports", id=name, name="", description="", project_id="p", network_id="n1", admin_state_up=True,
            mac_address=f"fa:16:3e:00:00:0{len(name)}", status="DOWN", device_id="", device_owner="", host=host,
            vnic_type="normal", profile={}, port_security_enabled=True, allowed_address_pairs=[], dns_name="",
            created_by_compute=False, position=0, revision_number=1,
        )  # fmt: skip
    now = former.upgraded()
    assert [one.id for one in now.all(Port, Port.id)] == ["bound", "unbound"]
    assert [(one.host, one.subject_id, one.name) for one in now.all(DebtRow)] == [(NETWORK, "bound", "sync port")]
