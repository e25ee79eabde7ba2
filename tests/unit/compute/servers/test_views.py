"""How servers look that nothing has happened to yet, and how their addresses are shown."""

from __future__ import annotations

from collections.abc import Callable

from pileus.agent.commands import UpdateInstanceData
from pileus.cloud import registry
from pileus.compute import scheduler, servers, views
from pileus.compute.actions import boot as boot_flow
from pileus.db import Session
from pileus.network.addresses import AddressRow
from pileus.operations import OperationRow, Origin, Owed
from pileus.operations.debts import open_debts
from pileus.operations.model import SubjectRow
from tests.client import Client
from tests.unit.serving import Serving

MAC = "fa:16:3e:00:00:01"


def test_addresses_by_network_in_the_order_of_the_ports() -> None:
    rows = [
        AddressRow("b", "n2", "p1", 4, "10.0.0.1", MAC),
        AddressRow("a", "n1", "p2", 4, "10.1.0.1", MAC),
        AddressRow("b", "n2", "p1", 6, "2001:db8::1", MAC),
    ]
    shown = views.addresses(rows, extended=True)
    assert list(shown) == ["b", "a"]
    assert [(one["version"], one["addr"]) for one in shown["b"]] == [(4, "10.0.0.1"), (6, "2001:db8::1")]
    assert shown["a"] == [
        {"version": 4, "addr": "10.1.0.1", "OS-EXT-IPS:type": "fixed", "OS-EXT-IPS-MAC:mac_addr": MAC}
    ]
    assert views.addresses(rows, extended=False)["a"] == [{"version": 4, "addr": "10.1.0.1"}]
    assert views.addresses([], extended=True) == {}


def test_a_new_server_is_building_and_being_scheduled(demo: Client, boot: Callable[..., str]) -> None:
    """The first GET of a server that was just asked for, before a host was chosen."""
    server = demo("GET", f"/compute/v2.1/servers/{boot()}").json["server"]
    expected = {
        "status": "BUILD", "progress": 0, "hostId": "", "addresses": {}, "config_drive": "", "key_name": None,
        "accessIPv4": "", "accessIPv6": "", "OS-EXT-STS:task_state": "scheduling", "OS-EXT-STS:vm_state": "building",
        "OS-EXT-STS:power_state": 0, "OS-SRV-USG:launched_at": None, "OS-SRV-USG:terminated_at": None,
        "OS-EXT-AZ:availability_zone": "", "os-extended-volumes:volumes_attached": [],
    }  # fmt: skip
    assert {name: server[name] for name in expected} == expected
    assert "security_groups" not in server


def test_lists_by_a_status_that_comes_of_a_task(serving: Serving, demo: Client, boot: Callable[..., str]) -> None:
    rebooting, idle = boot(), boot()
    with serving.db.write() as session:
        for server_id in (rebooting, idle):
            boot_flow.scheduler.place(session, [(server_id, [])])
            boot_flow.activate(session, [(server_id, {"power_state": 1}, Origin("req-1", None, None))])
        end_all(session)
    assert (
        demo("POST", f"/compute/v2.1/servers/{rebooting}/action", json={"reboot": {"type": "HARD"}}).status_code == 202
    )

    def listed(status: str) -> list[tuple[str, str]]:
        found = demo("GET", f"/compute/v2.1/servers/detail?status={status}").json["servers"]
        return [(one["id"], one["status"]) for one in found]

    assert listed("hard_reboot") == [(rebooting, "HARD_REBOOT")]
    assert listed("reboot") == []
    assert len(listed("active")) == 2


def test_a_building_server_waits(demo: Client, boot: Callable[..., str]) -> None:
    path = f"/compute/v2.1/servers/{boot(metadata={'a': '1'})}"
    for body in ({"os-stop": None}, {"os-start": None}, {"reboot": {"type": "HARD"}}):
        answer = demo("POST", f"{path}/action", json=body)
        assert answer.status_code == 409 and "vm_state building" in answer.text
    assert demo("POST", f"{path}/action", json={"os-getConsoleOutput": {}}).status_code == 409
    assert demo("DELETE", f"{path}/metadata/a").status_code == 409
    version = {"OpenStack-API-Version": "compute 2.26"}
    assert demo("PUT", f"{path}/tags/t", headers=version).status_code == 409
    assert demo("DELETE", path).status_code == 204
    server = demo("GET", path).json["server"]
    assert (server["status"], server["OS-EXT-STS:task_state"]) == ("BUILD", "deleting")


def test_new_metadata_is_told_to_the_guest(serving: Serving, demo: Client, boot: Callable[..., str]) -> None:
    """Several changes are told as one: the last one made."""
    server_id = boot(metadata={"a": "1"})
    with serving.db.write() as session:
        (placed,) = scheduler.place(session, [(server_id, [])])
        assert isinstance(placed, dict)
        boot_flow.activate(session, [(server_id, {"power_state": 1}, Origin("req-1", None, None))])
        end_all(session)
    path = f"/compute/v2.1/servers/{server_id}/metadata"
    for value in ("2", "3"):
        assert demo("PUT", f"{path}/a", json={"meta": {"a": value}}).status_code == 200
    with serving.db.read() as session:
        [debt] = open_debts(session)
        assert (debt.host, debt.subject_id) == (placed["host"], server_id)
        command = registry().carry_out(session, Owed(debt.name, debt.arguments))
        assert isinstance(command, UpdateInstanceData) and command.guest.server_id == server_id
        assert command.guest.data.metadata == {"a": "3"}
        assert servers.task_states(session, [server_id]) == {}


def end_all(session: Session) -> None:
    """What is under way ends, with all it has to itself."""
    for row in session.query(OperationRow):
        row.finished_at = row.created_at
    session.query(SubjectRow).delete()
