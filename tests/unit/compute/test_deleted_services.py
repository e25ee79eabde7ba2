"""A compute service that is deleted: what goes with it, what keeps it there, and who comes after it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from sqlalchemy import select

from pileus.agent.commands import HostReport, PowerState
from pileus.compute import hosts, services
from pileus.compute.migration_model import COMPLETED, FINISHED, OPEN, Migration
from pileus.compute.model import Host, Server, UnknownGuest
from pileus.db import Session, new_id, utcnow
from pileus.membership.model import Agent
from pileus.operations import debts
from pileus.operations.model import DebtRow
from pileus.operations.owed import Owed
from pileus.placement import allocations, providers
from pileus.placement.allocations import Claim
from pileus.placement.model import ResourceProvider
from tests.client import Client
from tests.unit.compute.world import World, host_report, report_of
from tests.unit.nouns import Nouns

GONE = "gone"
NOBODY: Any = None
"""It is not looked at who asks."""


@pytest.fixture
def path(nouns: Nouns) -> str:
    """The URL of the service of a host that is gone, and has nothing."""
    with nouns.serving.db.write() as session:
        nouns.add_host(session, 3, GONE, 100)
        return f"/os-services/{session.get_one(Host, GONE).service_id}"


def refused(admin: Client, path: str, why: str) -> None:
    answer = admin("DELETE", path)
    assert answer.status_code == 409 and why in answer.json["conflictingRequest"]["message"]


def test_all_of_a_host_goes(nouns: Nouns, admin: Client, path: str) -> None:
    aggregate = admin.ok("POST", "/os-aggregates", {"aggregate": {"name": "a", "availability_zone": "west"}})[
        "aggregate"
    ]
    for host in (GONE, "up"):
        admin.ok("POST", f"/os-aggregates/{aggregate['id']}/action", {"add_host": {"host": host}})
    with nouns.serving.db.write() as session:
        session.add(Agent(name=GONE, hosts=GONE, address="", public_key="k", created_at=utcnow()))
        row = session.get_one(Host, GONE)
        provider_id = row.provider_id
        session.add(
            UnknownGuest(
                host=GONE, server_id=new_id(), incarnation=1, power_state=PowerState.RUNNING, first_seen=utcnow()
            )
        )
    answer = admin("DELETE", path)
    assert answer.status_code == 204 and not answer.content
    assert [one["host"] for one in admin.ok("GET", "/os-services")["services"]] == ["up", "down"]
    assert admin("GET", f"/os-hypervisors/{provider_id}").status_code == 404
    assert admin("GET", f"/os-hypervisors?hypervisor_hostname_pattern={GONE}").status_code == 404
    assert admin.ok("GET", f"/os-aggregates/{aggregate['id']}")["aggregate"]["hosts"] == ["up"]
    for part in ("", "/inventories", "/traits"):
        assert nouns.placement("admin")("GET", f"/resource_providers/{provider_id}{part}").status_code == 404
    with nouns.serving.db.read() as session:
        assert session.get(Agent, GONE) is not None, "its agent belongs to the cloud"
        assert not session.scalars(select(UnknownGuest)).all()
        assert provider_id not in providers.inventories(session, [provider_id])
    answer = admin("DELETE", path)
    assert answer.status_code == 404
    assert answer.json["itemNotFound"]["message"] == f"Service {path.rpartition('/')[2]} could not be found."


def test_who_comes_after_it_is_another(nouns: Nouns, admin: Client, path: str) -> None:
    admin.ok("PUT", path, {"status": "disabled"})
    with nouns.serving.db.read() as session:
        provider_id = session.get_one(Host, GONE).provider_id
    assert admin("DELETE", path).status_code == 204
    with nouns.serving.db.write() as session:
        hosts.register(session, report_of(host_report(GONE)), utcnow())
    [service] = admin.ok("GET", f"/os-services?host={GONE}")["services"]
    assert service["id"] not in path and (service["status"], service["zone"]) == ("enabled", "nova")
    [hypervisor] = admin.ok("GET", f"/os-hypervisors?hypervisor_hostname_pattern={GONE}")["hypervisors"]
    assert hypervisor["id"] != provider_id


def move(nouns: Nouns, session: Session, **values: Any) -> Migration:
    """A move of some server between hosts that the test names."""
    server = session.get_one(Server, World(nouns.serving.db).server(session, vm_state="active"))
    row = Migration(
        uuid=new_id(), server_id=server.id, type="migration", old_flavor=server.flavor, new_flavor=server.flavor,
        old_vm_state="active", user_id="u", project_id="p", owner_id="p", created_at=utcnow(), **values,
    )  # fmt: skip
    session.add(row)
    session.flush()
    return row


@pytest.mark.parametrize("way", [{"source_host": GONE, "dest_host": "up"}, {"source_host": "up", "dest_host": GONE}])
def test_moves_that_are_not_over_keep_it(nouns: Nouns, admin: Client, path: str, way: dict[str, str]) -> None:
    with nouns.serving.db.write() as session:
        number = move(nouns, session, **way, status=FINISHED).id
    for status in OPEN:
        with nouns.serving.db.write() as session:
            session.get_one(Migration, number).status = status
        refused(admin, path, "has in-progress migrations")
    with nouns.serving.db.write() as session:
        session.get_one(Migration, number).status = COMPLETED
    assert admin("DELETE", path).status_code == 204


def test_servers_keep_it(nouns: Nouns, admin: Client, path: str) -> None:
    with nouns.serving.db.write() as session:
        server_id = World(nouns.serving.db).server(session, vm_state="stopped", host=GONE)
    refused(admin, path, "is hosting instances. Migrate or delete the instances first.")
    with nouns.serving.db.write() as session:
        server = session.get_one(Server, server_id)
        server.host, server.deleted_at = None, utcnow()
    assert admin("DELETE", path).status_code == 204


def test_whoever_uses_something_of_it_keeps_it(nouns: Nouns, admin: Client, path: str) -> None:
    consumer = new_id()
    with nouns.serving.db.write() as session:
        provider_id = session.get_one(Host, GONE).provider_id
        allocations.claim(session, [Claim(consumer, provider_id, "p", "u", {"VCPU": 1})])
    refused(admin, path, "is hosting instances")
    with nouns.serving.db.write() as session:
        allocations.release(session, [consumer])
    assert admin("DELETE", path).status_code == 204


def test_a_host_that_answers_is_made_anew_by_its_next_report(nouns: Nouns, admin: Client) -> None:
    [before] = admin.ok("GET", "/os-services?host=up")["services"]
    assert admin("DELETE", f"/os-services/{before['id']}").status_code == 204
    with nouns.serving.db.write() as session:
        hosts.heard_of(session, ["up"])
    assert not admin.ok("GET", "/os-services?host=up")["services"], "a sign of life makes nothing"
    with nouns.serving.db.write() as session:
        hosts.register(session, report_of(host_report("up")), utcnow())
    [after] = admin.ok("GET", "/os-services?host=up")["services"]
    assert after["id"] != before["id"] and after["state"] == "up"


def test_a_report_amid_its_deletion_makes_it_anew(nouns: Nouns, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL shows each statement what is committed by then; here one transaction plays both."""
    told = providers.report

    def late(session: Session, reported: Sequence[HostReport]) -> dict[str, str]:
        services.delete(session, session.get_one(Host, GONE), NOBODY)
        return told(session, reported)

    monkeypatch.setattr(providers, "report", late)
    with nouns.serving.db.write() as session:
        hosts.register(session, report_of(host_report(GONE)), utcnow())
    with nouns.serving.db.read() as session:
        provider_id = session.scalar(select(ResourceProvider.id).where(ResourceProvider.name == GONE))
        assert provider_id is not None and session.get_one(Host, GONE).provider_id == provider_id


def test_what_it_is_owed_stays_owed(nouns: Nouns, admin: Client, path: str) -> None:
    with nouns.serving.db.write() as session:
        debts.owe(session, GONE, new_id(), Owed("discard guest", {}))
    assert admin("DELETE", path).status_code == 204
    with nouns.serving.db.read() as session:
        assert session.scalars(select(DebtRow.host)).all() == [GONE]


def test_its_id(admin: Client, path: str) -> None:
    for key, version, status in (
        ("3", "2.53", 400), ("nope", "2.53", 400), (new_id(), "2.53", 404),
        ("nope", "2.52", 400), (path.rpartition("/")[2], "2.52", 400), ("9", "2.52", 404), (str(10**15), "2.52", 404),
    ):  # fmt: skip
        assert admin("DELETE", f"/os-services/{key}", version=version).status_code == status, key
    assert admin("DELETE", "/os-services/3", version="2.52").status_code == 204


def test_nobody_else_may(nouns: Nouns, admin: Client, path: str) -> None:
    for name in ("demo", "alt_demo"):
        for key in (path, f"/os-services/{new_id()}", "/os-services/nope"):
            answer = nouns.compute(name)("DELETE", key)
            assert answer.status_code == 403 and "os-services:delete" in answer.json["forbidden"]["message"]
    assert len(admin.ok("GET", "/os-services")["services"]) == 3


def test_the_scheduler_does_not_take_the_next_of_its_name_for_it(world: World) -> None:
    """The generation of its provider is the one that the other had."""
    world.report(host_report("h1", 1))
    first, second = world.servers(2, specs={"trait:CUSTOM_FAST": "required"})
    assert world.place(first) == [None] and world.generation("h1") == 1
    world.another().write(lambda session: services.delete(session, session.get_one(Host, "h1"), NOBODY))
    world.report(host_report("h1", 1, traits=("CUSTOM_FAST",)))
    assert world.generation("h1") == 1 and world.place(second) == ["h1"]
